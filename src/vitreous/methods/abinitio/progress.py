"""Where a search stands, and the file that it can go on from."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from vitreous.files import atomic_path
from vitreous.methods.abinitio.halves import Halves
from vitreous.methods.abinitio.low_resolution import Estimate
from vitreous.methods.abinitio.reference import MapSums
from vitreous.reconstruction.pose_refinement import Poses


@dataclass(frozen=True, eq=False)
class Progress:
    """Hold where a search stands.

    **Fields:** `starts`: done. `best`: estimate of the best of them, and its `score`. `is_dark`:
    its density is negative. `halves`: see `Halves`, of two half sets, later of one joint set.
    `agreed`: the half maps when they agreed best. `passes`, `joint`: done. `rests`: whether poses
    came to rest. `reach`: of shifts in pixels, once it was widened. `history`: plain entries.
    """

    starts: int = 0
    best: Estimate | None = None
    score: float = -np.inf
    is_dark: bool = False
    halves: Halves | None = None
    agreed: Halves | None = None
    passes: int = 0
    joint: int = 0
    rests: bool = False
    reach: float | None = None
    history: list[dict] = field(default_factory=list)


_PLAIN = ("starts", "score", "is_dark", "passes", "joint", "rests", "reach", "history")


def save_progress(file: Path, done: Progress) -> None:
    """Write a search's state; a reader never sees half of it."""
    arrays: dict[str, np.ndarray] = {}
    plain = {name: getattr(done, name) for name in _PLAIN}
    if done.best is not None:
        arrays["best.volumes"] = np.asarray(done.best.volumes)
        arrays["best.noise"] = np.asarray(done.best.noise)
    for name in ("halves", "agreed"):
        halves = getattr(done, name)
        if halves is None:
            continue
        arrays[f"{name}.volumes"] = np.asarray(halves.volumes)
        arrays[f"{name}.noise"] = np.asarray(halves.noise)
        arrays[f"{name}.fsc"] = np.asarray(halves.fsc)
        plain[f"{name}.edge"] = float(halves.edge)
        if halves.moved is not None:
            arrays[f"{name}.moved"] = np.asarray(halves.moved)
        for part, kind in (("sums", MapSums), ("poses", Poses)):
            value = getattr(halves, part)
            if value is not None:
                for key, leaf in zip(kind._fields, value, strict=True):
                    arrays[f"{name}.{part}.{key}"] = np.asarray(leaf)
    arrays["plain"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    with atomic_path(file) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def load_progress(file: Path) -> Progress:
    """Read a search's state."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    plain = json.loads(arrays.pop("plain").tobytes().decode())
    best = None
    if "best.volumes" in arrays:
        best = Estimate(jnp.asarray(arrays["best.volumes"]), jnp.asarray(arrays["best.noise"]))
    kept = {name: plain[name] for name in _PLAIN}
    return Progress(
        best=best,
        halves=_halves(arrays, plain, "halves"),
        agreed=_halves(arrays, plain, "agreed"),
        **kept,
    )


def _halves(arrays: dict[str, np.ndarray], plain: dict, name: str) -> Halves | None:
    if f"{name}.volumes" not in arrays:
        return None

    def part(kind, title: str):
        if f"{name}.{title}.{kind._fields[0]}" not in arrays:
            return None
        return kind._make(arrays[f"{name}.{title}.{key}"] for key in kind._fields)

    sums = part(MapSums, "sums")
    return Halves(
        volumes=jnp.asarray(arrays[f"{name}.volumes"]),
        noise=jnp.asarray(arrays[f"{name}.noise"]),
        fsc=arrays[f"{name}.fsc"],
        sums=None if sums is None else MapSums(*map(jnp.asarray, sums)),
        poses=part(Poses, "poses"),
        moved=arrays.get(f"{name}.moved"),
        edge=plain[f"{name}.edge"],
    )
