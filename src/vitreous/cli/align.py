"""`align`: one map laid onto another."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vitreous.cli.common import start_jax
from vitreous.errors import InputError

_HANDS = {"both": (False, True), "same": (False,), "other": (True,)}


def align(
    moving: Annotated[Path, typer.Argument(help="Map to move (.mrc).")],
    fixed: Annotated[Path, typer.Argument(help="Map to lay it onto (.mrc), of one box with it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The moved map (.mrc).")],
    hand: Annotated[
        Literal["both", "same", "other"],
        typer.Option(help="Try the map, its mirror image, or both and keep the better."),
    ] = "both",
    pixel_size: Annotated[
        float | None, typer.Option("--Apix", help="Å per voxel, where the headers do not say it.")
    ] = None,
) -> None:
    """Lay a map onto another: all rotations, all shifts, both hands.

    Prints the rotation (RELION's angles), the shift and how well the maps correlate then.

    Example: `vitreous align mine.mrc theirs.mrc -o mine.aligned.mrc`
    """
    start_jax()
    import numpy as np

    from vitreous.geometry.rotations import matrix_to_euler
    from vitreous.maps import read_map, write_map
    from vitreous.reconstruction.volume_alignment import align_volumes

    first, second = (read_map(path, pixel_size=pixel_size) for path in (moving, fixed))
    if first.data.shape != second.data.shape:
        raise InputError(
            f"{moving}: {first.data.shape} voxels, {fixed}: {second.data.shape}; bring them to one "
            "box with: vitreous downsample"
        )
    if abs(first.voxel_size / second.voxel_size - 1) > 0.01:
        raise InputError(
            f"{moving}: {first.voxel_size:.4g} Å per voxel, {fixed}: {second.voxel_size:.4g}"
        )
    for path, source in ((moving, first), (fixed, second)):
        if len(set(source.data.shape)) > 1 or not np.ptp(source.data) > 0:
            raise InputError(f"{path}: no cube, or without any density; it cannot be aligned")
    found = align_volumes(first.data, second.data, second.voxel_size, hands=_HANDS[hand])
    moved = found.apply(first.data, second.voxel_size)
    write_map(output, moved, second.voxel_size, second.origin)
    angles = ", ".join(f"{a:.2f}" for a in matrix_to_euler(found.rotation[None])[0])
    shift = ", ".join(f"{s:.3f}" for s in found.shift)
    kept = "mirrored" if found.is_mirrored else "hand kept"
    typer.echo(f"rotation {angles}°, shift {shift} Å, {kept}")
    typer.echo(f"correlation {found.correlation:.4f}")
    typer.echo(f"{output}")
