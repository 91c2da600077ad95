"""A whole flexible fit that begins with a structure."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.methods.flexible.config import FlexibleConfig
from vitreous.methods.flexible.fit import optimize_deformations
from vitreous.methods.flexible.run_files import load_flexible
from vitreous.simulation.hinges import HingeTrial, hinge_set, write_hinge_set
from vitreous.training.fit import FitOptions

TRIAL = HingeTrial(box=16, pixel_size=8.0, count=64, snr=10.0)


def _chained(points: np.ndarray) -> list[int]:
    """Walk from each point to the nearest that was not visited."""
    way, left = [0], set(range(1, len(points)))
    while left:
        square = {i: float(np.sum((points[i] - points[way[-1]]) ** 2)) for i in left}
        way.append(min(left, key=lambda i: square[i]))
        left.remove(way[-1])
    return way


def _write_structure(path, parts):
    """Write each part as a chain, one residue a pseudo-atom."""
    lines = []
    for chain, points in zip("AB", parts, strict=True):
        for number, i in enumerate(_chained(points), 1):
            x, y, z = points[i]
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  CA  GLY {chain}{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                f"{1:6.2f}{20:6.2f}           C"
            )
    path.write_text("\n".join([*lines, "END", ""]))
    return str(path)


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atoms")
    write_hinge_set(folder, TRIAL)
    return folder / "particles.star"


@pytest.fixture(scope="module")
def run(particles):
    truth = hinge_set(TRIAL)
    parts = truth.position[~truth.moving], truth.position[truth.moving]
    config = FlexibleConfig(
        atomic_model=_write_structure(particles.parent / "model.pdb", parts),
        zdim=1,
        epochs=8,
        warmup=1,
        batch_size=16,
        max_shell=7,
        # What beads are: fits from maps have an encoder, and parts that must not meet.
        encoder=False,
        repulsion=False,
    )
    options = FitOptions(checkpoint_every=8, quiet=True)
    return optimize_deformations(particles, particles.parent / "run", config, None, options)


@pytest.mark.slow
def test_beads_of_a_structure_find_the_hinge(run):
    truth = hinge_set(TRIAL)
    z = run.latents().mean[:, 0]
    assert abs(np.corrcoef(z, truth.angle)[0, 1]) > 0.9
    half = load_flexible(run).halves[0]
    points = half.gaussians.positions
    bent = np.linalg.norm(np.asarray(half.deformation(points, jnp.ones((1, 1))))[0], axis=1)
    # Beads stand as in the file: body first, and the arm is what moves.
    assert bent[truth.moving].mean() > 2 * bent[~truth.moving].mean()
