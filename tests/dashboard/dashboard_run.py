"""A run whose volumes, images and poses follow from one formula: balls, projected in closed form.

The second ball moves with the first latent. The CTF of the table is 1 (amplitude contrast 1, no
defocus to speak of), so images are projections.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from starlette.testclient import TestClient

from vitreous.dashboard.app import build_app
from vitreous.dashboard.guard import Keys
from vitreous.dashboard.session import Session
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.particles.stack import write_stack
from vitreous.training import registry
from vitreous.training.checkpoint import Checkpoints
from vitreous.training.position import Position

BOX, PIXEL, COUNT, DIMENSIONS = 16, 4.0, 240, 3
SIGMA = 1.6
_STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300.0 0.0 1.0 4.0 16

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnAngleRot #6
_rlnAngleTilt #7
_rlnAnglePsi #8
_rlnOriginXAngst #9
_rlnOriginYAngst #10
_rlnRandomSubset #11
_rlnClassNumber #12
_rlnNote #13
"""


def centres(z: np.ndarray) -> np.ndarray:
    """Say where the three balls are, in voxels from the centre."""
    return np.array([[-3.0, -1.0, 1.0], [2.5 + z[0], 2.0, -1.0], [0.5, -3.0, -2.0]])


def ball_volume(z: np.ndarray) -> np.ndarray:
    """Return the density at a latent."""
    c = np.indices((BOX,) * 3)[::-1] - BOX // 2
    return sum(
        np.exp(-((c - p[:, None, None, None]) ** 2).sum(0) / (2 * SIGMA**2)) for p in centres(z)
    ).astype(np.float32)


def ball_image(z: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return its projection in a pose, by the formula: `shift` in pixels."""
    c = np.indices((BOX,) * 2)[::-1] - BOX // 2
    places = (centres(z) @ rotation.T)[:, :2] + shift
    height = SIGMA * np.sqrt(2 * np.pi)
    return sum(
        height * np.exp(-((c - p[:, None, None]) ** 2).sum(0) / (2 * SIGMA**2)) for p in places
    ).astype(np.float32)


def load_decoder(run, epoch):
    """Do what a method's entry in the registry does."""
    return lambda z: np.stack([ball_volume(row) for row in np.asarray(z)])


def make_run(folder: Path, noise: float = 0.0) -> Path:
    """Write `run/`, `particles.star` and `stacks/one.mrcs`, `two.mrcs` into a folder.

    `noise`: standard deviation of what is added to the pixels.
    """
    rng = np.random.default_rng(5)
    z = rng.standard_normal((COUNT, DIMENSIONS)).astype(np.float32)
    angles = rng.uniform((-180, 0, -180), (180, 180, 180), (COUNT, 3)).round(3)
    shift = rng.uniform(-1, 1, (COUNT, 2)).round(3)
    rotation = euler_to_matrix(angles)
    images = np.stack([ball_image(*each) for each in zip(z, rotation, shift, strict=True)])
    if noise:
        images += noise * rng.standard_normal(images.shape).astype(np.float32)
    half = COUNT // 2
    for name, part in (("one", images[:half]), ("two", images[half:])):
        write_stack(folder / "stacks" / f"{name}.mrcs", part, PIXEL)
    lines = []
    for i in range(COUNT):
        stack, number = ("one", i + 1) if i < half else ("two", i + 1 - half)
        (rot, tilt, psi), (x, y) = angles[i], -PIXEL * shift[i]
        lines.append(
            f"{number:06d}@stacks/{stack}.mrcs 1 {i % 7}.5 {i % 7}.25 0.0 {rot} {tilt} {psi} "
            f"{x:.4f} {y:.4f} {i % 2 + 1} {i % 3 + 1} word{i % 5}\n"
        )
    (folder / "particles.star").write_text(_STAR + "".join(lines))
    run = folder / "run"
    analysis = run / "analyze.2"
    (analysis / "kmeans4").mkdir(parents=True)
    np.savez(run / "latents.npz", mean=z, log_variance=np.full_like(z, -3.0))
    np.save(analysis / "umap.npy", z[:, :2] * 2)
    np.save(analysis / "kmeans4" / "labels.npy", np.arange(COUNT) % 4)
    Checkpoints(run / "checkpoints").save(
        {"scale": np.ones(1, np.float32)}, Position(2, 0, 10, 0, 8, COUNT)
    )
    write_config(run)
    return run


def write_config(run: Path, **changed: object) -> None:
    """Write the configuration of the run."""
    config = {
        "method": "balls",
        "particles": {"path": str(run.parent / "particles.star")},
        "images": COUNT,
        "box": BOX,
        "pixel_size": PIXEL,
        "zdim": DIMENSIONS,
        "normalization": [0.0, 1.0],
        "contrast": "white",
        "particle_radius": 6.5,
        "folder": str(run),
        **changed,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))


@contextlib.contextmanager
def opened(run: Path, datadir: Path | None = None, **which: int) -> Iterator[TestClient]:
    """Show a run to a client that holds the key."""
    keys = Keys()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.METHODS, "balls", "dashboard_run:load_decoder")
        with Session(run, datadir, **which) as session:
            session.table.wait()
            # A fault of the server is an answer here, as it is for the page.
            yield TestClient(
                build_app(session, keys),
                base_url="http://127.0.0.1:8000",
                headers={"X-Token": keys.session},
                raise_server_exceptions=False,
            )


def told(answer) -> str:
    """Return the line of a refusal."""
    assert 400 <= answer.status_code < 500, answer.text
    line = answer.json()["error"]
    assert line
    assert "\n" not in line
    return line


def command(answer) -> str:
    """Return the command an answer names."""
    return unquote(answer.headers["X-Command"])
