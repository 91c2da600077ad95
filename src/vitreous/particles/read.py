"""Read particles from whatever file describes them into one `ParticleTable`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vitreous.errors import InputError
from vitreous.imaging.ctf import CTFParameters
from vitreous.mrc import read_header
from vitreous.particles.cryosparc import read_cs
from vitreous.particles.paths import missing_stack, resolve_stacks
from vitreous.particles.peer_pickles import (
    PoseUnit,
    read_ctf_pickle,
    read_index,
    read_pose_pickle,
)
from vitreous.particles.relion import RelionParticles
from vitreous.particles.relion_tomo import is_tomo_table, read_tomo_table
from vitreous.particles.stack_tables import count_error, header_pixel_size, read_stacks
from vitreous.particles.star import read_star
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilt_pairs import join_tilted
from vitreous.particles.tilts import first_tilts
from vitreous.particles.tomo_files import particles_of_set

PathLike = str | os.PathLike


def read_particles(
    path: PathLike,
    *,
    datadir: PathLike | None = None,
    poses: PathLike | None = None,
    ctf: PathLike | None = None,
    ind: PathLike | np.ndarray | Sequence[int] | None = None,
    pixel_size: float | None = None,
    box: int | None = None,
    pose_unit: PoseUnit = "fraction",
    passthrough: PathLike | Sequence[PathLike] | None = None,
    tomograms: PathLike | None = None,
    ind_of: Literal["images", "particles"] = "images",
    tilts: int | None = None,
    tilted: PathLike | None = None,
    tilt_angle: float = 45.0,
) -> ParticleTable:
    """Read a particle table; images are not touched, headers only where the table needs them.

    **Arguments:**

    - `path`: `.star` (RELION 3.0, 3.1, 4, 5; Warp, M; an optimisation set of RELION 5), `.cs`,
      `.mrc`, `.mrcs`, or a `.txt` list of stacks, one a line.
    - `datadir`: folder of the stacks, where the paths in the file lead nowhere.
    - `poses`, `ctf`: cryoDRGN pickles, in place of what the file says. They hold one entry for
      every row of the file, or for every selected row.
    - `ind`: rows to keep, counted from 0: a file (`.pkl`, `.npy`, `.txt`) or an array. With
      `ind_of="particles"` it counts the particles of tilt series instead, in the order of the
      file, and keeps all their images.
    - `pixel_size` (Å), `box`: of the stored images, in place of what the file says.
    - `pose_unit`: unit of the translations in `poses`: `"fraction"` of the box or `"pixel"`.
    - `passthrough`: `.cs` files to join; those beside the file are found by themselves.
    - `tomograms`: the `tomograms.star` (or `optimisation_set.star`) of RELION 5 particles, where
      the poses and CTF of the tilts stand; one beside the file is found by itself.
    - `tilts`: of each particle of a tilt series keep the images exposed first, so many.
    - `tilted`: images of the same particles, one for each row of `path`, taken after the stage
      was turned about its x axis by `tilt_angle` degrees: a tilt pair. They share pose and CTF
      parameters with the first image where their own file says none.

    **Raises:** `InputError` naming file, row and field, and how to mend it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".star":
        table = _read_relion(path, datadir, pixel_size, box, tomograms, with_ctf=ctf is None)
    elif suffix == ".cs":
        table = _read_cryosparc(path, datadir, pixel_size, box, passthrough)
    elif suffix in (".mrc", ".mrcs", ".txt"):
        table = read_stacks(path, datadir, pixel_size, box, ctf)
    else:
        raise InputError(f"{path}: not .star, .cs, .mrc, .mrcs or .txt; particles are one of these")
    total = len(table)
    if total == 0:
        raise InputError(f"{path}: has no particles")
    if ind is not None:
        table = table.select(_selected_rows(table, ind, ind_of, path))
    if poses is not None:
        table = _with_poses(table, poses, pose_unit, total)
    if ctf is not None:
        parameters, _, _ = read_ctf_pickle(ctf)
        parameters = CTFParameters(*(_fit(np.asarray(f), table, total, ctf) for f in parameters))
        table = table.replace(ctf=parameters)
    _check_values(table)
    if tilted is not None:
        second = read_particles(
            tilted,
            datadir=datadir,
            ind=ind,
            pixel_size=pixel_size or float(np.median(table.pixel_size)),
            box=box,
        )
        table = join_tilted(table, second, tilt_angle)
    return table if tilts is None else first_tilts(table, tilts)


def _read_relion(
    path: Path,
    datadir: PathLike | None,
    pixel_size: float | None,
    box: int | None,
    tomograms: PathLike | None,
    with_ctf: bool,
) -> ParticleTable:
    star = read_star(path)
    listed = particles_of_set(star)
    if listed is not None:
        tomograms, path, star = tomograms or path, listed, read_star(listed)
    if is_tomo_table(star):
        table = read_tomo_table(star, datadir, tomograms, with_ctf)
        return _at_sampling(table, pixel_size, box)
    particles = RelionParticles(star)
    names, stack_id, image_index = particles.images()
    stacks = resolve_stacks(names, path, datadir)
    sizes, boxes = _sampling(
        particles.pixel_size(), particles.box(), pixel_size, box, stacks, stack_id, path
    )
    return ParticleTable(
        stacks=stacks,
        stack_id=stack_id,
        image_index=image_index,
        box=boxes,
        pixel_size=sizes,
        rotation=particles.rotation(),
        shift=particles.shift(sizes),
        ctf=particles.ctf() if with_ctf else None,
        optics_group=particles.optics_group,
        half_set=particles.half_set(),
        particle=particles.particle,
        dose=particles.dose(),
        ctf_applied=particles.ctf_applied(),
        row=np.arange(len(particles)),
        source=particles.star,
        path=path,
    )


def _at_sampling(table: ParticleTable, pixel_size: float | None, box: int | None) -> ParticleTable:
    """Put a pixel size and box that were given in place of those of the file."""
    if pixel_size is not None:
        table = table.replace(pixel_size=np.full(len(table), pixel_size))
    if box is not None:
        table = table.replace(box=np.full(len(table), box, np.int32))
    return table


def _read_cryosparc(
    path: Path,
    datadir: PathLike | None,
    pixel_size: float | None,
    box: int | None,
    passthrough: PathLike | Sequence[PathLike] | None,
) -> ParticleTable:
    data = read_cs(path, passthrough)
    names, stack_id, image_index = data.images()
    stacks = resolve_stacks(names, path, datadir)
    sizes, boxes = _sampling(data.pixel_size(), data.box(), pixel_size, box, stacks, stack_id, path)
    return ParticleTable(
        stacks=stacks,
        stack_id=stack_id,
        image_index=image_index,
        box=boxes,
        pixel_size=sizes,
        rotation=data.rotation(),
        shift=data.shift(sizes),
        ctf=data.ctf(),
        optics_group=data.optics_group(),
        half_set=data.half_set(),
        sign=data.sign(),
        row=np.arange(len(data)),
        source=data,
        path=path,
    )


def _sampling(
    sizes: np.ndarray | None,
    boxes: np.ndarray | None,
    pixel_size: float | None,
    box: int | None,
    stacks: tuple[str, ...],
    stack_id: np.ndarray,
    path: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Settle pixel size and box: as given, else as the file says, else from the stacks."""
    n = len(stack_id)
    if pixel_size is not None:
        sizes = np.full(n, pixel_size, np.float64)
    if box is not None:
        boxes = np.full(n, box, np.int32)
    if sizes is None or boxes is None:
        headers = []
        for stack in stacks:
            if not os.path.isfile(stack):
                lacks = "box size (-D)" if boxes is None else "pixel size (--Apix)"
                raise InputError(
                    f"{path}: does not say the {lacks}; give it, or let the stack be found: "
                    + missing_stack(stack, None)
                )
            headers.append(read_header(stack))
        if sizes is None:
            sizes = np.array([header_pixel_size(h, None) for h in headers])[stack_id]
        if boxes is None:
            boxes = np.array([h.shape[2] for h in headers], np.int32)[stack_id]
    return sizes, boxes


def _selected_rows(table: ParticleTable, ind: Any, ind_of: str, path: Path) -> np.ndarray:
    if ind_of == "images" or table.particle is None:
        return _checked_rows(ind, len(table), path)
    wanted = _checked_rows(ind, int(table.particle.max()) + 1, path)
    # Particle by particle, in the order they are asked for.
    by_particle = np.argsort(table.particle, kind="stable")
    owner = table.particle[by_particle]
    start, stop = (np.searchsorted(owner, wanted, side=side) for side in ("left", "right"))
    return np.concatenate([by_particle[a:b] for a, b in zip(start, stop, strict=True)])


def _checked_rows(ind: Any, total: int, path: Path) -> np.ndarray:
    rows = read_index(ind) if isinstance(ind, str | os.PathLike) else np.asarray(ind)
    name = ind if isinstance(ind, str | os.PathLike) else "the index"
    if rows.dtype == bool:
        if len(rows) != total:
            raise InputError(f"{name}: a mask of {len(rows)} for the {total} particles of {path}")
        rows = np.flatnonzero(rows)
    if rows.size == 0:
        raise InputError(f"{name}: selects no particles")
    if rows.min() < 0 or rows.max() >= total:
        bad = int(rows.max() if rows.max() >= total else rows.min())
        raise InputError(
            f"{name}: asks for row {bad} (counted from 0), but {path} has {total} particles"
        )
    return rows.astype(np.int64)


def _fit(values: np.ndarray, table: ParticleTable, total: int, path: PathLike) -> np.ndarray:
    """Take the rows of the table from an array over all rows, or over the selected ones."""
    if len(values) == total:
        return values[table.row]
    if len(values) == len(table):
        return values
    raise count_error(path, len(values), total, table.path)


def _with_poses(table: ParticleTable, poses: PathLike, unit: PoseUnit, total: int) -> ParticleTable:
    rotation, translation = read_pose_pickle(poses, unit)
    rotation, translation = (_fit(a, table, total, poses) for a in (rotation, translation))
    scale = table.pixel_size * (table.box if unit == "fraction" else 1)
    shift = (translation * scale[:, None]).astype(np.float32)
    return table.replace(rotation=rotation, shift=shift)


def _check_values(table: ParticleTable) -> None:
    """Refuse values that no microscope has."""

    def refuse(bad: np.ndarray, what: str) -> None:
        rows = np.flatnonzero(bad)
        if rows.size:
            raise InputError(
                f"{table.path}: row {int(table.row[rows[0]]) + 1}: {what} ({rows.size} rows in all)"
            )

    refuse(~(table.pixel_size > 0), "pixel size is not positive")
    refuse(table.box < 2, "box size is below 2 pixels")
    refuse(table.image_index < 0, "image number is below 1")
    half = 0.5 * table.box * table.pixel_size
    refuse(
        (np.abs(table.shift) > half[:, None]).any(axis=1),
        "the shift puts the particle outside its box; check units and pixel size, or leave it out",
    )
    if table.ctf is not None:
        refuse(~(np.asarray(table.ctf.voltage) > 0), "voltage is not positive")
        contrast = np.asarray(table.ctf.amplitude_contrast)
        refuse((contrast < 0) | (contrast > 1), "amplitude contrast is outside 0 to 1")
