"""The page in a real browser: load, lasso, decode, save STAR, film; what it says when amiss."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from page_browser import (
    CHROMIUM,
    browsing,
    draw_lasso,
    film_frames,
    open_page,
    place,
    selected,
    serving,
    wait_for_size,
    wait_until,
)
from page_run import COUNT, SIDE, hinge_run
from PIL import Image

from vitreous.particles import read_particles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(hinge_run(tmp_path_factory.mktemp("page"))) as served:
        yield served


@pytest.fixture(scope="module")
def context(served):
    with browsing(served) as context:
        yield context


@pytest.fixture(scope="module")
def page(context, served):
    page = open_page(context, served)
    yield page
    assert page.faults == []


def test_it_loads_and_shows_the_run(page, served):
    assert page.title() == f"{served.run.path.name} · vitreous"
    assert f"{COUNT} particles" in page.locator(".facts").inner_text()
    offered = page.locator("[aria-label='X axis'] option").all_text_contents()
    assert {"z1", "z2"} <= set(offered)


@pytest.mark.parametrize("renderer", ["webgl", "processor"])
def test_points_are_drawn_where_the_particles_are(context, served, renderer):
    page = open_page(context, served, f"?points={renderer}")
    # Draw and read in one task: a WebGL canvas is cleared once it was shown.
    script = """() => {
      const plot = document.querySelector('.stage').plot;
      const { canvas, renderer } = plot;
      const draw = renderer.draw.bind(renderer);
      return new Promise((resolve) => {
        renderer.draw = (frame) => {
          draw(frame);
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          const alpha = (x, y) => data[4 * (Math.floor(y) * canvas.width + Math.floor(x)) + 3];
          const ratio = canvas.width / plot.host.clientWidth;
          const at = (i) => plot.project(plot.x[i], plot.y[i]).map((p) => p * ratio);
          const hit = Array.from(plot.x, (_, i) => alpha(...at(i)) > 0);
          const inked = data.filter((v, k) => k % 4 === 3 && v > 0).length / (data.length / 4);
          resolve([renderer.name, hit.filter(Boolean).length, hit.length, inked]);
        };
        plot.redraw();
      });
    }"""
    name, hits, number, inked = page.evaluate(script)
    assert name == {"webgl": "WebGL", "processor": "processor"}[renderer]
    assert number == COUNT
    assert hits == COUNT
    assert inked < 0.1
    page.close()


def test_a_lasso_selects_what_lies_in_it_and_is_undone(page):
    corners = [(0.1, 0.1), (0.6, 0.05), (0.5, 0.5), (0.65, 0.9), (0.15, 0.95)]
    draw_lasso(page, corners)
    script = """() => {
      const { plot } = document.querySelector('.stage');
      const { style } = plot.renderer;
      const { clientWidth, clientHeight } = plot.host;
      const at = (i) => plot.project(plot.x[i], plot.y[i]);
      return Array.from(plot.x, (_, i) => {
        const [x, y] = at(i);
        return [x / clientWidth, y / clientHeight, style[4 * i + 1]];
      });
    }"""
    *places, marked = np.transpose(page.evaluate(script))
    inside = Polygon(corners).contains_points(np.transpose(places))
    assert np.array_equal(marked == 1, inside)
    chosen = selected(page)
    assert chosen == inside.sum()
    assert 0 < chosen < COUNT
    page.keyboard.press("Control+z")
    wait_for_size(page, "none selected")
    page.keyboard.press("Control+Shift+z")
    wait_for_size(page, "selected ·")
    assert selected(page) == chosen


def test_a_range_chooses_and_a_drag_of_it_is_one_step(page, served):
    draw_lasso(page, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    assert selected(page) == COUNT
    page.locator("[aria-label='Add a range of a column']").select_option("z1")
    lowest = page.locator(".thumbs input").first
    box = lowest.bounding_box()
    page.mouse.move(box["x"] + 6, box["y"] + box["height"] / 2)
    page.mouse.down()
    for part in (0.2, 0.3, 0.4, 0.5):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_timeout(120)
    page.mouse.up()
    z = served.run.latents().mean[:, 0]
    edge = z.min() + int(lowest.input_value()) / int(lowest.get_attribute("max")) * np.ptp(z)
    number = int((z >= edge).sum())
    assert 0 < number < COUNT
    wait_for_size(page, f"{number} of {COUNT}")
    page.keyboard.press("Control+z")
    wait_for_size(page, f"{COUNT} of {COUNT}")


def evaluate(rule: dict, sets: dict[str, set[int]]) -> set[int]:
    """Say which of 0…7 a rule means, `named` sets being known."""
    ((kind, value),) = rule.items()
    if kind == "named":
        return sets[value]
    if kind == "not":
        return set(range(8)) - evaluate(value, sets)
    parts = [evaluate(part, sets) for part in value]
    return set.intersection(*parts) if kind == "and" else set.union(*parts)


def test_terms_are_read_from_top_to_bottom(page):
    """The rule that terms make, against the terms one after the other; then its inverse."""
    script = """(terms) => import('/selection/rules.js').then(({ toRule, invert, term }) => {
      const made = terms.map(([name, join, not]) => term({ named: name }, join, not));
      return [toRule(made), toRule(invert(made)), toRule([])];
    })"""
    # Every three sets in general position, told by the bits of 0…7.
    sets = {name: {n for n in range(8) if n >> bit & 1} for bit, name in enumerate("abc")}
    rng = np.random.default_rng(3)
    for _ in range(30):
        terms = [
            [str(rng.choice(list("abc"))), str(rng.choice(["and", "or"])), bool(rng.integers(2))]
            for _ in range(rng.integers(1, 6))
        ]
        expected: set[int] = set()
        for k, (name, join, negated) in enumerate(terms):
            part = set(range(8)) - sets[name] if negated else sets[name]
            expected = part if k == 0 else expected & part if join == "and" else expected | part
        rule, inverse, nothing = page.evaluate(script, terms)
        assert evaluate(rule, sets) == expected
        assert evaluate(inverse, sets) == set(range(8)) - expected
        assert nothing is None


def test_a_lost_graphics_card_leaves_the_points_to_the_processor(context, served):
    page = open_page(context, served, "?points=webgl")
    script = """() => new Promise((resolve) => {
      const { plot } = document.querySelector('.stage');
      plot.canvas.addEventListener('webglcontextlost', () => setTimeout(() => {
        const { width, height } = plot.canvas;
        const { data } = plot.canvas.getContext('2d').getImageData(0, 0, width, height);
        resolve([plot.renderer.name, data.some((v) => v > 0)]);
      }, 300));
      plot.renderer.gl.getExtension('WEBGL_lose_context').loseContext();
    })"""
    assert page.evaluate(script) == ["processor", True]
    page.close()


def test_a_click_decodes_the_particle(page, served):
    page.mouse.click(*place(page, 7))
    page.wait_for_selector(".slot[data-slot=a][data-shown]")
    label = page.locator(".slot[data-slot=a]").get_attribute("data-shown")
    particle = int(label.removeprefix("Particle "))
    z = served.run.latents().mean
    near = np.hypot(*(np.array(place(page, particle)) - place(page, 7)))
    assert near < 14
    script = """() => import('/volume/mrc.js').then(async ({ parseMrc }) => {
      const { value } = document.querySelector('input.number');
      const node = await fetch('api/volume?particle=' + value);
      const volume = parseMrc(await node.arrayBuffer());
      return [volume.nx, volume.voxel, Array.from(volume.values)];
    })"""
    side, voxel, values = page.evaluate(script)
    truth = np.asarray(served.run.decode(z[particle][None])[0])
    assert side == len(truth)
    assert voxel == pytest.approx(served.run.pixel_size, rel=1e-5)
    np.testing.assert_allclose(np.reshape(values, truth.shape), truth, atol=1e-4 * truth.std())
    picture = np.asarray(Image.open(io.BytesIO(page.locator(".slot[data-slot=a]").screenshot())))[
        ..., :3
    ]
    # A shaded surface on an even ground: many tones, not one.
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
    assert "eval-vol" in page.locator(".log-bar .last").inner_text()


def test_a_selection_and_its_inverse_are_saved_as_star(page, served):
    draw_lasso(page, [(0.1, 0.1), (0.6, 0.1), (0.6, 0.9), (0.1, 0.9)])
    chosen = selected(page)
    for inverse, number in ((False, chosen), (True, COUNT - chosen)):
        page.locator(".export input[type=text]").fill(f"part{int(inverse)}")
        page.locator(".export input[type=checkbox]").set_checked(inverse)
        page.get_by_role("button", name="Write file").click()
        wait_until(
            page,
            f"document.querySelector('.export code')?.textContent.includes('part{int(inverse)}')",
        )
        path = Path(page.locator(".export .result code").inner_text())
        assert path.suffix == ".star"
        assert len(read_particles(path)) == number


def test_a_trajectory_plays_and_is_saved_as_a_film(page, served):
    page.get_by_role("tab", name="Trajectories").click()
    z = served.run.latents().mean
    for particle in (int(z[:, 0].argmin()), int(z[:, 0].argmax())):
        page.mouse.click(*place(page, particle))
    wait_until(page, "document.querySelectorAll('.anchors .chip').length === 2")
    page.locator("[aria-label=Frames]").fill("4")
    page.get_by_role("button", name="Make the path").click()
    wait_until(page, "document.querySelector('[data-slot=a]').dataset.shown === 'Frame 1 of 4'")
    page.locator("[aria-label=Frame]").fill("3")
    wait_until(page, "document.querySelector('[data-slot=a]').dataset.shown === 'Frame 4 of 4'")
    page.get_by_role("button", name="Save into the run").click()
    page.wait_for_selector(".save-path .result code")
    folder = Path(page.locator(".save-path .result code").first.inner_text()).parent
    assert len(list(folder.glob("*.mrc"))) == 4
    assert list(folder.glob("*.cxc"))
    frames = film_frames(next(folder.glob("*.mp4")))
    # There and back; the molecule stands out from the ground and moves.
    assert len(frames) == 6
    assert frames[0].std() > 5
    assert np.abs(frames[3] - frames[0]).max() > 50


def test_images_of_a_selection_are_shown(page):
    page.get_by_role("tab", name="Particles").click()
    page.wait_for_selector(".montage img")
    script = "node => node.decode().then(() => node.naturalWidth)"
    width = page.locator(".montage img").evaluate(script)
    assert width > SIDE
    page.wait_for_selector(".poses img")


def test_without_webgl_volumes_are_slices_and_the_page_says_so(context, served):
    hide = """
      const get = HTMLCanvasElement.prototype.getContext;
      HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        return /webgl/.test(kind) ? null : get.call(this, kind, ...rest);
      };
    """
    page = open_page(context, served, before=hide)
    assert "No WebGL" in page.locator(".renderer").inner_text()
    assert "no WebGL" in page.locator(".viewport").inner_text()
    page.locator("input.number").fill("3")
    page.get_by_role("button", name="Decode").click()
    page.wait_for_selector("[data-slot=a][data-shown='Particle 3']")
    script = """node => {
      const { data } = node.getContext('2d').getImageData(0, 0, node.width, node.height);
      return new Set(data).size;
    }"""
    tones = page.locator("[data-slot=a] canvas.slice").first.evaluate(script)
    assert tones > 20
    assert page.faults == []
    page.close()


def test_a_server_that_is_gone_is_said_in_one_line(context, served):
    page = open_page(context, served)
    page.route("**/api/volume**", lambda route: route.abort())
    page.get_by_role("button", name="Show consensus").click()
    page.wait_for_selector("[data-slot=a] .notice.error")
    told = page.locator("[data-slot=a] .notice p").inner_text()
    assert "is vitreous dashboard still running?" in told
    page.close()
