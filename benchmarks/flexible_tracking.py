"""Follow the turning Fab of igg-64 through maps made of its images, and compare with the truth.

Poses are given. Latents are those of a subspace fitted to the images; maps at some of them are
followed, and each image gets weights of displacement modes: what a flexible fit starts from. The
truth: chain A and residues up to 230 of chain B of 1IGY turn by 36° a state about a line through
the elbow, found once from the centres of mass of the set's ten clean maps, which lie on a circle
to 0.1 Å. Images of the reference state, where nothing moves, are left out of the correlation.

    python benchmarks/flexible_tracking.py ../shared/data [--latents run] [--json FILE]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

# The line that the Fab turns about: a point (Å from the centroid of all atoms) and a direction.
PIVOT = np.array([-23.4919, -13.2390, -6.2235])
AXIS = np.array([-0.6518497, -0.71131928, -0.26290084])
LAST_RESIDUE = 230


class Molecule:
    """Hold the atoms of 1IGY, and which of them turn."""

    def __init__(self, path: Path) -> None:
        from vitreous.imaging.atoms import read_structure

        atoms = [
            (atom.pos.tolist(), chain.name, residue.seqid.num)
            for chain in read_structure(path)[0]
            for residue in chain
            for atom in residue
        ]
        points = np.array([atom[0] for atom in atoms])
        self.points = points - points.mean(axis=0)
        self.turns = np.array(
            [name == "A" or (name == "B" and number <= LAST_RESIDUE) for _, name, number in atoms]
        )

    def turned(self, points: np.ndarray, turns: np.ndarray, states: float) -> np.ndarray:
        """Turn some points by so many states."""
        turn = Rotation.from_rotvec(AXIS * np.deg2rad(36 * states)).as_matrix()
        return np.where(turns[:, None], (points - PIVOT) @ turn.T + PIVOT, points)

    def turning(self, points: np.ndarray, state: int) -> np.ndarray:
        """Say which points of a state belong to the Fab that turns."""
        atoms = self.turned(self.points, self.turns, state)
        return self.turns[KDTree(atoms).query(points)[1]]


def prepare(particles: Path):
    """Prepare images up to shell 15: the band that motion is followed in."""
    from vitreous.geometry.fourier_pixels import FourierPixels
    from vitreous.particles import ImageSource
    from vitreous.training.inputs import DataOptions, prepared_images, read_checked

    table = read_checked(DataOptions().particle_arguments(particles))
    pixels = FourierPixels(64, 15)
    return prepared_images(table, ImageSource(table), DataOptions(), pixels, "white")


def scores(molecule: Molecule, found, labels: np.ndarray, state: int) -> dict[str, float]:
    """Compare the motion of each image with the truth."""
    rest = found.track.rest.points
    turns = molecule.turning(rest, state)
    moved = np.einsum("nk,mkx->nmx", found.weights, found.modes(rest))
    steps = np.arange(10) - state
    truth = np.stack([molecule.turned(rest, turns, step) - rest for step in steps])[labels]
    away = np.flatnonzero(labels != state)
    each = [np.corrcoef(moved[i].ravel(), truth[i].ravel())[0, 1] for i in away]

    def rms(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.sum(x**2, axis=-1))))

    return {
        "correlation": float(np.mean(each)),
        "worst 5 %": float(np.percentile(each, 5)),
        "Fab error (Å)": rms((moved - truth)[:, turns]),
        "Fab motion (Å)": rms(truth[:, turns]),
        "rest error (Å)": rms((moved - truth)[:, ~turns]),
        "loop (Å)": float(found.track.mismatch[0]) if len(found.track.mismatch) else np.nan,
        "loop of (Å)": float(found.track.excursion[0]) if len(found.track.excursion) else np.nan,
    }


def main() -> None:
    """Fit the landscape, follow the maps, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of particles/igg-64 and structures")
    parser.add_argument("--anchors", type=int, default=24)
    parser.add_argument("--latents", type=Path, help="file of latents (mean, n d) to use instead")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from vitreous.methods.flexible.starts.landscape_start import start_from_landscape
    from vitreous.reconstruction.half_sets import half_sets
    from vitreous.reconstruction.kernel_regression import KernelRegression
    from vitreous.reconstruction.masks import spherical_mask
    from vitreous.training.registry import landscape_fitter

    folder = args.data / "particles" / "igg-64"
    data = prepare(folder / "particles.star")
    labels = np.load(folder / "truth.npz")["labels"]
    begun = time.perf_counter()
    if args.latents is None:
        latents = np.asarray(landscape_fitter("subspace")(data, 8, 200.0).latents.mean)
    else:
        latents = np.load(args.latents)["mean"]
    fitted = time.perf_counter()
    halves = half_sets(len(labels), data.table.half_set, data.table.particle)
    regression = KernelRegression(data, halves, spherical_mask(64, 26.0, 4.0), rings=4)
    found = start_from_landscape(regression, latents, 8, anchors=args.anchors)
    done = time.perf_counter()
    place = found.anchors.latents[found.reference]
    state = int(labels[np.argmin(np.sum((latents - place[None]) ** 2, axis=1))])
    row = scores(Molecule(args.data / "structures" / "1igy.cif"), found, labels, state)
    row |= {"landscape (s)": fitted - begun, "following (s)": done - fitted}
    shown = {name: round(value, 3) for name, value in row.items()}
    print_table([shown], list(shown))
    write_json(args.json, "flexible_tracking", {"machine": machine(), "rows": [row]})


if __name__ == "__main__":
    main()
