"""Commands on a flexible run, which is made of known parts here: two bodies, one latent, no fit."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.analysis.embedding import embed
from vitreous.analysis.motion_columns import write_motion_columns
from vitreous.cli.main import main
from vitreous.maps import read_map
from vitreous.methods.flexible.bodies.files import write_body_tables
from vitreous.methods.flexible.bodies.rigid_bodies import plan_bodies
from vitreous.methods.flexible.gaussian_model import GaussianModel
from vitreous.methods.flexible.run_files import load_flexible, load_method, write_start
from vitreous.methods.flexible.start import Start
from vitreous.particles import read_particles
from vitreous.particles.stack import write_stack
from vitreous.training.position import Position
from vitreous.training.run import Latents, Run

BOX, PIXEL, COUNT = 16, 6.0, 24
_STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300.0 2.7 0.1 6.0 16

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnDefocusU #8
_rlnDefocusV #9
_rlnDefocusAngle #10
_rlnMadeUp #11
"""


def two_balls():
    rng = np.random.default_rng(1)
    ball = rng.normal(size=(30, 3))
    ball *= (12 * rng.uniform(0.3, 1, 30) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None]
    return np.concatenate([ball - [18, 0, 0], ball[:, [1, 2, 0]] + [18, 0, 0]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    rng = np.random.default_rng(0)
    write_stack(folder / "images.mrcs", rng.normal(size=(COUNT, BOX, BOX)), PIXEL)
    rows = [
        f"{k + 1}@images.mrcs 1 {10 * k} {30 + 5 * k} {-7 * k} {k % 3} {-(k % 4)} 9e3 9e3 0 {k}"
        for k in range(COUNT)
    ]
    (folder / "particles.star").write_text(_STAR + "\n".join(rows) + "\n")
    config = {
        "method": "flexible",
        "particles": {"path": str(folder / "particles.star")},
        "images": COUNT,
        "box": BOX,
        "pixel_size": PIXEL,
        "zdim": 1,
        "normalization": [0.0, 1.0],
        "flexible": {"gaussians": 60, "zdim": 1, "epochs": 2, "warmup": 1},
    }
    run = Run.create(folder / "run", config)
    points = two_balls()
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    x = np.broadcast_to(axis[None, None, :], (BOX,) * 3)
    plan = plan_bodies(np.stack([x < 0, x >= 0]), PIXEL)
    gaussians = GaussianModel.of(points, np.full(60, 0.1), np.full(60, 5.0))
    edges = np.array([[0, 1], [1, 2]], np.int32)
    start = Start(gaussians, edges, np.ones((1, 8), np.float32), 7, 40.0, 6.0, bodies=plan)
    half, group = np.arange(COUNT) % 2, np.zeros(COUNT, np.int64)
    write_start(run, start, half.astype(np.int32), group.astype(np.int32))
    method = load_method(run)
    state = method.init(jax.random.key(0))
    latents = np.linspace(-1.5, 1.5, COUNT, dtype=np.float32)[:, None]
    state = state.__class__(**{**vars(state), "latents": jnp.asarray(latents)})
    position = Position(epoch=2, step=0, steps=1, seed=0, batch_size=8, images=COUNT)
    run.checkpoints.save(state, position)
    run.save_latents(Latents(latents), 2)
    return run


def stopped(capsys, *words):
    """Run a command that is refused, and return its line."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def call(capsys, *words):
    """Run a command that succeeds, and return what it said."""
    status = None
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    assert not status, captured.err
    return captured.out


def test_bodies_of_a_run_are_found_and_written_for_relion(run, capsys):
    out = call(
        capsys, "compute-masks-for-rigid-transforms", run.path, "--number-of-masks", 2,
        "--pipeline-control", run.path,
    )  # fmt: skip
    assert "2 masks" in out
    assert (run.path / "RELION_JOB_EXIT_SUCCESS").is_file()
    hard, soft = (
        np.stack([read_map(run.path / f"masks/{kind}mask_body{k}.mrc").data for k in (1, 2)])
        for kind in ("", "smooth_")
    )
    assert set(np.unique(hard)) == {0, 1}
    inside = hard.any(axis=0)
    np.testing.assert_allclose(hard.sum(axis=0)[inside], 1)
    np.testing.assert_allclose(soft.sum(axis=0)[inside], 1, atol=1e-5)
    # The cut is the one between the balls.
    left = two_balls()[:, 0] < 0
    index = tuple((np.rint(two_balls() / PIXEL).astype(int) + BOX // 2)[:, ::-1].T)
    share = hard[0][index][left].mean()
    assert max(share, 1 - share) > 0.95
    out = call(capsys, "compute-rigid-transforms", run.path)
    assert out.count("turned by") == 2
    files, _ = write_body_tables(run)
    whole, half = run.table(), load_flexible(run).halves[0]
    for k, file in enumerate(files):
        assert "_rlnMadeUp" in file.read_text()
        body = read_particles(file)
        np.testing.assert_array_equal(body.half_set, np.arange(COUNT) % 2)
        mask = hard[k][index] > 0.5
        # An image shows the moved body where its own pose shows it at rest.
        points = np.asarray(half.gaussians.positions)[mask]
        moved = points[None] + np.asarray(
            half.deformation(jnp.asarray(points), jnp.asarray(half.latents))
        )
        rows = half.images
        seen = np.einsum("nij,ngj->ngi", whole.rotation[rows], moved)[..., :2]
        again = np.einsum("nij,gj->ngi", body.rotation[rows], points)[..., :2]
        off = seen + whole.shift[rows][:, None] - again - body.shift[rows][:, None]
        assert np.sqrt((off**2).mean()) < 0.3
        assert np.sqrt(((moved - points[None]) ** 2).mean()) > 1.0


def test_particles_are_told_by_how_they_move(run, capsys, tmp_path):
    names = write_motion_columns(run)
    assert names[0] == "motion"
    motion, place = (np.load(run.path / f"columns/{n}.npy") for n in ("motion", "motion_at_x"))
    half = load_flexible(run).halves[0]
    points = half.gaussians.positions
    moved = np.asarray(half.deformation(points, jnp.asarray(run.latents().mean)))
    np.testing.assert_allclose(motion, np.sqrt((moved**2).sum(-1).mean(1)), rtol=1e-4)
    weight = (moved**2).sum(-1)
    at = (weight * np.asarray(points)[None, :, 0]).sum(1) / weight.sum(1)
    np.testing.assert_allclose(place, at, atol=1e-3)
    table = tmp_path / "gaussians.csv"
    call(capsys, "explore-latent-space", run.path, "--gaussians", table, "--cluster", 2)
    with table.open() as handle:
        assert len(list(csv.DictReader(handle))) == 60
    assert set(np.load(run.path / "columns/motion_cluster.npy")) == {1, 2}


def test_regions_clicks_and_ways_leave_files(run, capsys):
    out = call(
        capsys, "explore-latent-space", run.path, "--half-set", 1, "--star",
        "--region", "0,-1 9,-1 9,1 0,1", "--click", "0.5,0", "--trajectory", "-1,0 1,0",
        "--frames", 2,
    )  # fmt: skip
    half = load_flexible(run).halves[0]
    count = int((half.latents[:, 0] > 0).sum())
    assert f"{count} of 12 particles" in out
    chosen = read_particles(run.path / "subsets/subset_0_half1.star")
    assert sorted(chosen.row) == list(range(count))
    assert set(chosen.image_index) == set(half.images[half.latents[:, 0] > 0])
    shown = read_map(run.path / "maps/map0_half1.mrc").data
    nearest = half.latents[np.argmin(np.abs(half.latents[:, 0] - 0.5))]
    np.testing.assert_allclose(shown, run.decode(nearest[None])[0], atol=1e-5)
    movie = run.path / "movies/movie0_half1"
    assert len(list(movie.glob("volume00?.mrc"))) == 2
    assert (movie / "movie.gif").is_file()
    plane = np.load(run.path / "columns/pca_latent1.npy")
    assert np.isfinite(plane).sum() == 12


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--star"], "give --region"),
        (["--region", "0,0 1,1"], "needs 3 places"),
        (["--click", "nowhere"], "not pairs"),
        (["--trajectory", "lost.json"], "no such file"),
        (["--region", "90,90 91,90 91,91", "--star"], "no particle lies"),
        (["--click", "0,0", "--checkpoint-file", "lost"], "no such checkpoint"),
    ],
)
def test_bad_questions_get_a_line(run, capsys, words, complaint):
    assert complaint in stopped(capsys, "explore-latent-space", run.path, *words)


def test_bodies_that_cannot_be_are_refused(run, capsys, tmp_path):
    line = stopped(capsys, "compute-masks-for-rigid-transforms", run.path, "--number-of-masks", 30)
    assert "60 Gaussians make 1 to 7 bodies" in line
    line = stopped(capsys, "compute-rigid-transforms", run.path, "--masks", tmp_path)
    assert "holds no mask" in line


@pytest.mark.parametrize("kind", ["UMAP", "TSNE"])
def test_neighbours_in_any_plane_move_alike(run, capsys, kind):
    everywhere = "-999,-999 999,-999 999,999 -999,999"
    out = call(capsys, "explore-latent-space", run.path, "--reduce-by-deformation",
               "--dimensionality-reduction-method", kind, "--region", everywhere)  # fmt: skip
    assert f"{COUNT} of {COUNT} particles" in out
    names = (f"{kind.lower()}_deformation{axis}" for axis in (1, 2))
    plane = np.stack([np.load(run.path / f"columns/{name}.npy") for name in names], axis=1)
    assert plane.std(axis=0).min() > 0
    # Latents are evenly spaced along a line: places of neighbours are nearer than most others.
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    nextdoor = np.median(np.diagonal(apart, 1))
    assert nextdoor < 0.5 * np.median(apart)


@pytest.mark.parametrize("kind", ["PCA", "ICA", "UMAP"])
def test_planes_keep_clusters_apart(kind):
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    features = rng.normal(0, 0.3, (40, 4)) + 4 * label[:, None]
    plane = embed(features, kind)
    assert plane.shape == (40, 2)
    if kind in ("PCA", "ICA"):
        gap = np.abs(plane[label == 0].mean(axis=0) - plane[label == 1].mean(axis=0))
        assert (gap / plane[label == 0].std(axis=0)).max() > 4
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    nearest = np.argsort(apart, axis=1)[:, 1:4]
    assert (label[nearest] == label[:, None]).all()
    np.testing.assert_array_equal(embed(features[:, :1], kind)[:, 0], features[:, 0].astype("f4"))
