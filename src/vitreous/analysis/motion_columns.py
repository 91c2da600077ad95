"""How each particle of a flexible run moves, as columns: how much, where to, where, and how surely.

`motion` (Å, root mean square), `motion_x`, `motion_y`, `motion_z` (mean displacement, Å),
`motion_at_x`, `motion_at_y`, `motion_at_z` (where the motion is, Å), `half_difference` (Å by which
the half sets' models disagree). They lie in the run's `columns/`, where `select`, the page and
every table find them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path, write_text
from vitreous.methods.flexible.agreement import AGREEMENT_FILE
from vitreous.methods.flexible.bodies.files import displacements
from vitreous.methods.flexible.run_files import HalfModel, load_flexible
from vitreous.training.run import Run

# Gaussians that stand for all of them.
_SHOWN = 1000


class Motions(NamedTuple):
    """Hold how particles move: `amount` (Å), mean `step` (Å), and `place` of the motion (Å)."""

    amount: Float[np.ndarray, " n"]
    step: Float[np.ndarray, "n 3"]
    place: Float[np.ndarray, "n 3"]


def particle_motions(half: HalfModel, latents: Float[np.ndarray, "n d"]) -> Motions:
    """Sum up the displacement of a half's Gaussians in each particle, weighed by amplitude."""
    every = -(-len(half.gaussians.positions) // _SHOWN)
    points = np.asarray(half.gaussians.positions, np.float64)[::every]
    weight = np.asarray(half.gaussians.amplitude, np.float64)[::every]
    weight /= weight.sum()
    parts: list[tuple[np.ndarray, ...]] = []
    for moved in displacements(half, np.asarray(latents, np.float32), every):
        square = np.sum(moved**2, axis=2) * weight[None]
        total = square.sum(axis=1)
        place = square @ points / np.maximum(total, 1e-12)[:, None]
        parts.append((np.sqrt(total), np.einsum("g,bgi->bi", weight, moved), place))
    return Motions(*(np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)))


def write_motion_columns(run: Run, epoch: int | None = None) -> list[str]:
    """Write the columns of a run; see the head of this file.

    **Returns:** their names.
    """
    latents = np.asarray(run.latents(epoch).mean, np.float32)
    found = particle_motions(load_flexible(run, epoch).halves[0], latents)
    columns = {"motion": found.amount}
    for axis, letter in enumerate("xyz"):
        columns[f"motion_{letter}"] = found.step[:, axis]
        columns[f"motion_at_{letter}"] = found.place[:, axis]
    agreement = read_agreement(run)
    if agreement is not None and len(agreement["particle_error"]) == len(latents):
        columns["half_difference"] = agreement["particle_error"]
    for name, values in columns.items():
        write_column(run, name, values)
    return list(columns)


def write_column(run: Run, name: str, values: Float[np.ndarray, " n"]) -> None:
    """Leave a value for each particle in a run."""
    (run.path / "columns").mkdir(exist_ok=True)
    with atomic_path(run.path / "columns" / f"{name}.npy") as temporary, temporary.open("wb") as f:
        np.save(f, np.asarray(values, np.float32), allow_pickle=False)


def read_agreement(run: Run) -> dict[str, np.ndarray] | None:
    """Read how far the half sets agree, None if nobody has compared them."""
    file = run.path / AGREEMENT_FILE
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def write_gaussians(run: Run, path: Path, epoch: int | None = None) -> int:
    """Write the Gaussians of half 1 as a table (CSV).

    Place, amplitude and width, and, where the half sets were compared, how much each moves and by
    how much they disagree on it (Å).

    **Returns:** how many rows there are.
    """
    gaussians = load_flexible(run, epoch).halves[0].gaussians
    names = ["x", "y", "z", "amplitude", "width"]
    columns = [*np.asarray(gaussians.positions).T, np.asarray(gaussians.amplitude)]
    columns.append(np.asarray(gaussians.width))
    agreement = read_agreement(run)
    if agreement is not None:
        compared = len(agreement["gaussian_error"])
        every = max(1, -(-len(columns[0]) // max(compared, 1)))
        columns = [column[::every] for column in columns]
        if len(columns[0]) == compared:
            names += ["motion", "half_difference"]
            columns += [agreement["gaussian_motion"], agreement["gaussian_error"]]
    rows = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")
    return len(rows)
