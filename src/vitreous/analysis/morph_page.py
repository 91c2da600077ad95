"""The page and the movie of a morph: the way from map to map, and how far it can be believed."""

import base64
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitreous.analysis.movies import render_series, there_and_back, write_gif, write_mp4
from vitreous.analysis.pictures import encode
from vitreous.analysis.svg import line_chart
from vitreous.analysis.view import choose_view
from vitreous.files import write_text

if TYPE_CHECKING:
    from vitreous.methods.morph.train import Trained

# Side of the pictures, in pixels.
_SIZE = 360
_SCRIPT = """
const frames = JSON.parse(document.getElementById('frames').textContent);
const image = document.querySelector('#way img'), slider = document.querySelector('#way input');
const play = document.querySelector('#way .play'), time = document.querySelector('#way output');
let timer = 0, step = 1;
function show(i) {
  slider.value = i; image.src = frames[i];
  time.textContent = 't = ' + (i / (frames.length - 1)).toFixed(1);
}
slider.addEventListener('input', () => show(+slider.value));
play.addEventListener('click', () => {
  if (timer) { clearInterval(timer); timer = 0; play.textContent = '▶'; return; }
  play.textContent = '❚❚';
  timer = setInterval(() => {
    const i = +slider.value;
    if (i + step < 0 || i + step >= frames.length) step = -step;
    show(i + step);
  }, 160);
});
"""


def write_movie(stem: Path, frames: list[Path]) -> list[Path]:
    """Draw maps that were written as frames into `STEM.gif`, and `STEM.mp4` where possible."""
    from vitreous.maps import read_map
    from vitreous.methods.morph.lattice import to_cube

    maps = [to_cube(read_map(path).data) for path in frames if path.suffix == ".mrc"]
    return _movie(stem, render_series(maps, choose_view(maps)))


def _movie(stem: Path, pictures: list[np.ndarray]) -> list[Path]:
    loop = there_and_back(pictures)
    paths = [stem.with_suffix(".gif")]
    write_gif(paths[0], loop)
    mp4 = stem.with_suffix(".mp4")
    if write_mp4(mp4, loop):
        paths.append(mp4)
    return paths


def write_morph_page(directory: Path, outcome: "Trained", name: str) -> list[Path]:
    """Write `trajectory.gif` (and `.mp4`) and `report.html`, which needs no other file."""
    from vitreous.methods.morph.lattice import to_cube

    cubes = [to_cube(frame) for frame in outcome.frames]
    view = choose_view(cubes)
    pictures = render_series(cubes, view, _SIZE)
    length = to_cube(np.linalg.norm(outcome.motion.displacement, axis=0))
    tint = length / max(float(length.max()), 1e-6)
    moving = render_series(cubes[:1], view, _SIZE, tint)[0]
    target = render_series([to_cube(outcome.problem.targets[-1].data)], view, _SIZE)[0]
    written = _movie(directory / "trajectory", pictures)
    page = directory / "report.html"
    write_text(page, _compose(outcome, name, pictures, target, moving))
    return [*written, page]


def _picture(picture: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(encode(picture, "WEBP")).decode()


def _compose(
    outcome: "Trained",
    name: str,
    pictures: list[np.ndarray],
    target: np.ndarray,
    moving: np.ndarray,
) -> str:
    figures, voxel = outcome.figures, outcome.figures["voxel_size"]
    shells = len(outcome.curves["after"])
    frequency = np.arange(shells) / (2 * shells * voxel)
    curves = {name: curve.astype(float) for name, curve in outcome.curves.items()}
    title = "Fourier shell correlation with the target"
    fsc = line_chart(frequency, curves, "frequency (1/Å)", title, (-0.05, 1.05), (0.5, 0.143))
    losses, word = np.asarray(outcome.result.losses), "loss"
    if losses.min() > 0:
        losses, word = np.log10(losses), "log₁₀ loss"
    loss = line_chart(np.arange(len(losses)), {word: losses}, "iteration", word)
    charts = [
        (title, f"{fsc}{_legend(list(curves))}"),
        (f"{word} (not comparable where the voxel or ε changes)", loss),
    ]
    if outcome.result.scores:
        x, y = zip(*outcome.result.scores, strict=True)
        chart = line_chart(
            np.array(x), {"score": np.array(y)}, "iteration", "held-out score", None, (), True
        )
        charts.append(("mean FSC with the half map that was not fitted", chart))
    inside = outcome.motion.weight > 0
    counts, edges = np.histogram(outcome.motion.volume[inside], bins=60)
    middle = 0.5 * (edges[1:] + edges[:-1])
    charts.append(
        (
            "volume change det F over the molecule (1: none, 0: collapse)",
            line_chart(middle, {"voxels": counts.astype(float)}, "det F", "det F"),
        )
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>'
        for k, v in _facts(figures, outcome)
    )
    drawn = "".join(f"<figure><figcaption>{escape(t)}</figcaption>{c}</figure>" for t, c in charts)
    style = (files("vitreous.analysis") / "assets" / "report.css").read_text(encoding="utf-8")
    data = json.dumps([_picture(p) for p in pictures])
    last = len(pictures) - 1
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Morph of {escape(name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><header><div><p class="brand">vitreous</p><h1>Morph of {escape(name)}</h1>
<p class="subtitle">{escape(_verdict(figures))}</p></div></header><main>
<section id="way"><h2>The way</h2><p class="note">One contour level and one view for all.</p>
<div class="players"><figure class="player"><div class="frame"><img src="{_picture(pictures[0])}"
alt="Shaded surface of the prediction at the chosen time"></div><figcaption><b>Prediction</b>
<output>t = 0.0</output></figcaption><div class="transport"><button type="button" class="play"
aria-label="Play or pause">▶</button><input type="range" min="0" max="{last}" value="0"
aria-label="Time"></div></figure><figure class="player"><div class="frame">
<img src="{_picture(target)}" alt="Shaded surface of the target"></div>
<figcaption><b>Target</b></figcaption></figure><figure class="player"><div class="frame">
<img src="{_picture(moving)}" alt="Shaded surface of the initial map, teal where it moves far">
</div><figcaption><b>What moves</b><output>teal: up to {figures["displacement_largest"]:.1f} Å
</output></figcaption></figure></div></section>
<section id="training"><h2>The fit</h2><div class="columns"><table class="facts"><tbody>{rows}
</tbody></table><div class="charts">{drawn}</div></div></section></main>
<footer><p>What the flow brings along from the sharp map is a prediction: the target can confirm it
only up to its own resolution.</p></footer>
<script type="application/json" id="frames">{data}</script><script>{_SCRIPT}</script></body></html>
"""


def _legend(names: list[str]) -> str:
    colours = ("var(--accent)", "var(--rust)", "#7d8597")
    spots = (
        f'<i style="display:inline-block;width:9px;height:9px;border-radius:50%;'
        f'background:{colour}"></i> {escape(name)} &ensp;'
        for name, colour in zip(names, colours, strict=False)
    )
    return f'<p class="note">{"".join(spots)}</p>'


def _verdict(figures: dict) -> str:
    return (
        f"correlation {figures['correlation_before']:.3f} → {figures['correlation']:.3f} · "
        f"moved {figures['displacement_rms']:.1f} Å rms · "
        f"det F {figures['volume_least']:.2f} to {figures['volume_most']:.2f}"
    )


def _resolution(value: float, figures: dict) -> str:
    """Word a resolution; a curve that never falls says no more than Nyquist."""
    at_least = "≤ " if value <= 2.001 * figures["voxel_size"] else ""
    return f"{at_least}{value:.2f} Å"


def _facts(figures: dict, outcome: "Trained") -> list[tuple[str, str]]:
    """Word the figures."""
    rows = [
        ("correlation with the target", f"{figures['correlation']:.4f}"),
        ("correlation before the flow", f"{figures['correlation_before']:.4f}"),
        ("FSC 0.5", _resolution(figures["resolution_fsc_0.5"], figures)),
        ("FSC 0.5 before the flow", _resolution(figures["resolution_fsc_0.5_before"], figures)),
        ("displacement, rms", f"{figures['displacement_rms']:.2f} Å"),
        ("displacement, mean", f"{figures['displacement_mean']:.2f} Å"),
        ("displacement, largest", f"{figures['displacement_largest']:.2f} Å"),
        ("det F, least", f"{figures['volume_least']:.3f}"),
        ("det F, 1 % to 99 %",
         f"{figures['volume_1_percent']:.3f} to {figures['volume_99_percent']:.3f}"),
        ("det F, most", f"{figures['volume_most']:.3f}"),
        ("strain", f"{figures['final_strain']:.4f}"),
        ("iterations", f"{figures['iterations']} (best {figures['best_iteration']})"),
        ("seconds", f"{figures['seconds']:.0f}"),
        ("thresholds", ", ".join(f"{t:.4g}" for t in figures["thresholds"])),
        ("initial map blurred for the fit by", f"{figures['blur']:.2f} Å (σ)"),
    ]  # fmt: skip
    if any(figures["target_blurs"]):
        blurs = ", ".join(f"{sigma:.2f}" for sigma in figures["target_blurs"])
        rows.append(("targets blurred against noise by", f"{blurs} Å (σ)"))
    if "correlations_along_the_way" in figures:
        way = ", ".join(f"{c:.4f}" for c in figures["correlations_along_the_way"])
        rows.insert(1, ("correlation with each target", way))
    if outcome.result.scores:
        best = max(score for _, score in outcome.result.scores)
        rows.insert(0, ("mean FSC with the held-out half map", f"{best:.4f}"))
    return rows
