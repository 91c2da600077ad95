"""The subspace method on other motions: a full circle, a bending domain, domains that come and go.

    python benchmarks/subspace_sets.py 1igy.cif [--sets circle bend bound] [--images 40] [-o FILE]

All are made of one antibody (PDB 1IGY), simulated at SNR 0.1 over the box as CryoBench defines it:

* `circle`: one arm goes around a cone about the hinge in 20 states; 3,000 images of 64².
* `bend`: an arm alone, its outer half closes by 40° in 20 states, as the jaws of an enzyme do;
  3,000 images of 48².
* `bound`: the stem with no arm, either one, or both; 3,000 images of 64².

Given are the mean of CryoBench's AUC per image, for the map of all images, the linear model and
kernel regression with bandwidths chosen blindly; the state by the 15 nearest neighbours; what the
coordinate of the motion can be predicted to; and seconds to latents in a process of its own.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from record import machine, print_table, write_json
from scipy.spatial.transform import Rotation
from subspace import quality, timed_fit

from vitreous.cli.common import start_jax
from vitreous.imaging.atoms import Atoms, read_atoms, scattering_gaussians
from vitreous.imaging.gaussians import gaussian_map
from vitreous.metrics import read_truth
from vitreous.metrics.neighbours import nearest_neighbours, neighbour_r2
from vitreous.simulation import MapStates, ParticleOptions, simulate_particles
from vitreous.training.run import Run

IMAGES = 3000
# Light and heavy chain of an arm, and where the heavy chains leave the arm.
ARMS, STEM = (("A", "B/1-220"), ("C", "D/1-220")), ("B/221-600", "D/221-600")
OUTER = ("A/1-107", "B/1-113")


class MotionSet(NamedTuple):
    """Volumes of the states, and the coordinate of each (turns on a circle), if it has one."""

    volumes: np.ndarray
    pixel_size: float
    coordinate: np.ndarray | None
    is_circle: bool = False


def chosen(path: Path, selections: tuple[str, ...]) -> Atoms:
    """Read the atoms of several selections as one."""
    parts = [read_atoms(path, one, hydrogens=False) for one in selections]
    return Atoms(*(np.concatenate([getattr(p, f) for p in parts]) for f in Atoms.__annotations__))


def moved(atoms: Atoms, turn: Rotation, about: np.ndarray) -> Atoms:
    position = turn.apply(atoms.position - about) + about
    return Atoms(position.astype(np.float32), atoms.atomic_number, atoms.bfactor, atoms.occupancy)


def centre(atoms: Atoms) -> np.ndarray:
    return atoms.position.mean(axis=0).astype(np.float64)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def drawn(states: list[list[Atoms]], box: int, pixel_size: float) -> np.ndarray:
    """Draw every state; all share the origin of the first."""
    draw = jax.jit(gaussian_map, static_argnames=("box", "voxel_size"))
    origin = np.concatenate([part.position for part in states[0]]).mean(axis=0)
    volumes = []
    for parts in states:
        total = np.zeros((box,) * 3, np.float32)
        for part in parts:
            gaussians = scattering_gaussians(part, extra_bfactor=80.0)
            gaussians = gaussians._replace(position=(part.position - origin).astype(np.float32))
            total = total + np.asarray(draw(gaussians, box=box, voxel_size=pixel_size))
        volumes.append(total)
    return np.stack(volumes).astype(np.float32)


def circle(path: Path) -> MotionSet:
    arm, other, stem = (chosen(path, s) for s in (*ARMS, STEM))
    hinge = centre(chosen(path, ("B/215-225", "D/215-225")))
    axis = unit(unit(centre(arm) - hinge) + unit(hinge - centre(stem)))
    turns = np.arange(20) / 20
    states = [
        [moved(arm, Rotation.from_rotvec(2 * np.pi * t * axis), hinge), other, stem] for t in turns
    ]
    return MotionSet(drawn(states, 64, 4.0), 4.0, turns, is_circle=True)


def bend(path: Path) -> MotionSet:
    outer, inner = chosen(path, OUTER), chosen(path, ("A/108-220", "B/114-220"))
    elbow = 0.5 * (centre(outer) + centre(inner))
    long = unit(centre(outer) - centre(inner))
    axis = unit(np.cross(long, [1.0, 0.3, 0.2]))
    angles = np.linspace(-20, 20, 20)
    states = [
        [moved(outer, Rotation.from_rotvec(np.radians(a) * axis), elbow), inner] for a in angles
    ]
    return MotionSet(drawn(states, 48, 3.0), 3.0, angles)


def bound(path: Path) -> MotionSet:
    first, second, stem = (chosen(path, s) for s in (*ARMS, STEM))
    states = [[stem, first, second], [stem, first], [stem, second], [stem]]
    return MotionSet(drawn(states, 64, 4.0), 4.0, None)


SETS = {"circle": circle, "bend": bend, "bound": bound}


def circle_error(z: np.ndarray, turns: np.ndarray, neighbours: int = 15) -> float:
    """Return the median error in degrees of the angle that neighbours predict."""
    near = np.exp(2j * np.pi * turns)[nearest_neighbours(z, neighbours)].mean(axis=1)
    found = np.angle(near * np.exp(-2j * np.pi * turns))
    return float(np.degrees(np.median(np.abs(found))))


def measure(name: str, structure: Path, images: int, folder: Path) -> dict[str, Any]:
    """Simulate a set, fit it twice in processes of their own, score the second fit."""
    made = SETS[name](structure)
    specimen = MapStates.of(made.volumes, made.pixel_size)
    options = ParticleOptions(count=IMAGES, snr=0.1, max_shift=2 * made.pixel_size)
    simulate_particles(specimen, folder, options)
    home, outdir = folder / "home", folder / "run"
    home.mkdir()
    timed_fit(folder / "particles.star", outdir, home)
    wall, processor = timed_fit(folder / "particles.star", outdir, home)
    run = Run.open(outdir)
    row: dict[str, Any] = {"set": name, "images": IMAGES, "box": made.volumes.shape[-1]}
    row |= quality(run, folder / "truth.npz", images)
    labels, z = read_truth(folder / "truth.npz").labels, run.latents().mean.astype(np.float64)
    assert labels is not None
    if made.coordinate is not None and made.is_circle:
        row["median error °"] = circle_error(z, made.coordinate[labels])
    elif made.coordinate is not None:
        row["R²"] = float(neighbour_r2(z, made.coordinate[labels][:, None]))
    return row | {"wall s, warm": wall, "processor s, warm": processor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure", type=Path)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    start_jax()
    rows = []
    for name in options.sets:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(name, options.structure, options.images, Path(scratch)))
        print_table(rows[-1:], list(rows[-1]))
    write_json(options.output, "subspace_sets", {"machine": machine(), "sets": rows})


if __name__ == "__main__":
    main()
