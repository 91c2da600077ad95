"""The files of a deformed backprojection, half maps under the names RELION and DynaMight use."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.files import atomic_path, write_text
from vitreous.maps import write_map
from vitreous.reconstruction.curves import plot_curves, write_curves
from vitreous.reconstruction.deformed.reconstruct import DeformedReconstruction
from vitreous.reconstruction.deformed.verdict import Verdict
from vitreous.reconstruction.finish import Consensus
from vitreous.reconstruction.local_resolution import local_resolution
from vitreous.reconstruction.pictures import PLANES, central_slices

# Colours of local resolution: sharp is light.
_COLOURS = "viridis_r"


def write_deformed(
    result: DeformedReconstruction, verdict: Verdict, folder: Path, masked: bool = False
) -> None:
    """Write the maps with the motion undone, what they are compared with, and the verdict.

    **Arguments:** `folder`: for `map_half1.mrc`, `map_half2.mrc`, `map.mrc`; the same with
    `plain_` before, nothing undone; `motion.mrc` (Å, root mean square); `mask_whole.mrc`,
    `mask_moving.mrc`, `mask_still.mrc`; `local_resolution.mrc`, `plain_local_resolution.mrc`;
    `fsc.txt`, `fsc.png`, `slices.png`, `verdict.json`. `masked`: `map.mrc` and `plain_map.mrc` are
    0 outside the molecule; half maps stay whole, as correlating them needs.
    """
    size = result.voxel_size
    local = {}
    for prefix, made in (("", result.deformed), ("plain_", result.plain)):
        first, second = (np.asarray(half) for half in made.half_maps)
        write_map(folder / f"{prefix}map_half1.mrc", first, size)
        write_map(folder / f"{prefix}map_half2.mrc", second, size)
        volume = np.asarray(made.volume)
        if masked:
            volume = volume * verdict.regions.whole
        write_map(folder / f"{prefix}map.mrc", volume, size)
        local[prefix] = _local(made, size)
        write_map(folder / f"{prefix}local_resolution.mrc", local[prefix], size)
    write_map(folder / "motion.mrc", result.amplitude, size)
    for name, mask in verdict.regions.masks().items():
        write_map(folder / f"mask_{name}.mrc", mask, size)
    curves: dict[str, np.ndarray] = {}
    for name, part in verdict.parts.items():
        curves |= {f"plain_{name}": part.before, f"deformed_{name}": part.after}
    box = len(result.amplitude)
    write_curves(folder / "fsc.txt", curves, box)
    shown = "moving" if "moving" in verdict.parts else "whole"
    pair = {"before": verdict.parts[shown].before, "after": verdict.parts[shown].after}
    where = "where it moves" if shown == "moving" else "over all"
    title = f"{verdict.word}: {result.images:,} images, {where}"
    plot_curves(folder / "fsc.png", pair, size, box, title)
    plot_slices(folder / "slices.png", result, local, verdict.regions.whole)
    write_text(folder / "verdict.json", json.dumps(verdict.as_json(), indent=2) + "\n")


def plot_slices(
    path: Path,
    result: DeformedReconstruction,
    local: dict[str, Float[np.ndarray, "n n n"]],
    whole: Float[np.ndarray, "n n n"],
) -> None:
    """Draw central slices before and after, the motion, and local resolution before and after."""
    from matplotlib.figure import Figure

    before, after = np.asarray(result.plain.volume), np.asarray(result.deformed.volume)
    bright = float(np.percentile(after, 99.9))
    inside = np.where(whole > 0.5, 1.0, np.nan)
    seen = np.concatenate([v[whole > 0.5] for v in local.values()] or [np.zeros(1)])
    low, high = np.percentile(seen, [2, 98]) if seen.size else (0.0, 1.0)
    sharp = {"vmin": low, "vmax": high, "cmap": _COLOURS}
    rows = [
        ("before", before, {"vmin": 0, "vmax": bright, "cmap": "gray"}),
        ("after", after, {"vmin": 0, "vmax": bright, "cmap": "gray"}),
        ("motion (Å)", result.amplitude, {"vmin": 0, "cmap": "magma"}),
        ("local resolution before (Å)", local["plain_"] * inside, sharp),
        ("local resolution after (Å)", local[""] * inside, sharp),
    ]
    figure = Figure(figsize=(7.2, 11.5), layout="constrained")
    for axes, (name, volume, style) in zip(figure.subplots(5, 3), rows, strict=True):
        for one, image, plane in zip(axes, central_slices(volume), PLANES, strict=True):
            drawn = one.imshow(image, origin="lower", **style)
            one.set_title(plane if one is not axes[0] else f"{name}, {plane}", fontsize=9)
            one.set_axis_off()
        if style["cmap"] != "gray":
            figure.colorbar(drawn, ax=list(axes), shrink=0.8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _local(made: Consensus, voxel_size: float) -> Float[np.ndarray, "n n n"]:
    first, second = (jnp.asarray(half) for half in made.half_maps)
    return np.asarray(local_resolution(first, second, voxel_size, step=1))
