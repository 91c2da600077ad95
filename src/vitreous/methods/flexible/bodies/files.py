"""Bodies of a flexible run as files for RELION: a particle table a body, and masks."""

from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from vitreous.errors import InputError
from vitreous.maps import write_map
from vitreous.methods.flexible.bodies.finding import find_bodies, masks_of_bodies
from vitreous.methods.flexible.bodies.masks import body_shares, read_body_masks
from vitreous.methods.flexible.bodies.transforms import Body, Moments, Rigid, body_pose
from vitreous.methods.flexible.deformation import FactorisedDeformation
from vitreous.methods.flexible.run_files import HalfModel, load_flexible
from vitreous.methods.flexible.undoing.backproject import with_refined_poses
from vitreous.training.run import Run

STARS, MASKS = "body_starfiles", "masks"
# A rigid motion needs three points that lie on no line; a few more make it one of a body.
_FEWEST = 4
# Images worked on at a time, and particles that bodies are found by.
_CHUNK, _SAMPLE = 64, 100
# Share of the mask resolution that a mask reaches beyond its Gaussians.
_DILATION = 0.5


def write_body_tables(
    run: Run, masks: Path | None = None, epoch: int | None = None
) -> tuple[list[Path], Float[np.ndarray, " k"]]:
    """Write the particles as each body sees them: `body_starfiles/body_1.star`, ….

    Angles and origins are those in which an image shows the body at rest; every other column is
    the particle file's own. `rlnRandomSubset` is the half set that the motion was learned by.

    **Arguments:** `masks`: folder of masks; by default those the run was fitted with, or those
    that `compute-masks-for-rigid-transforms` left.

    **Returns:** the files, and the median angle of each body, degrees.

    **Raises:** `InputError` if there are no masks, or a body has too few Gaussians.
    """
    model = load_flexible(run, epoch)
    folder = masks_folder(run) if masks is None else masks
    bodies = read_body_masks(folder, model.box, model.pixel_size)
    table = with_refined_poses(run.table(), model)
    if table.rotation is None:
        raise InputError(f"{table.path}: holds no poses any more")
    count = len(table)
    halves = np.zeros(count, np.int8)
    rotation = np.tile(np.eye(3), (len(bodies), count, 1, 1))
    shift = np.zeros((len(bodies), count, 3))
    for number, half in enumerate(model.halves):
        halves[half.images] = number
        for k, found in enumerate(rigid_motions(half, bodies, model.pixel_size, folder)):
            rotation[k, half.images], shift[k, half.images] = found.rotation, found.shift
    files, turned = [], []
    for k in range(len(bodies)):
        motion = Rigid(rotation[k], shift[k])
        pose = body_pose(table.rotation.astype(np.float64), table.shift, motion)
        moved = table.replace(
            rotation=pose[0].astype(np.float32), shift=pose[1].astype(np.float32), half_set=halves
        )
        file = run.path / STARS / f"body_{k + 1}.star"
        file.parent.mkdir(exist_ok=True)
        moved.to_star(file)
        files.append(file)
        trace = np.clip((np.trace(rotation[k], axis1=1, axis2=2) - 1) / 2, -1, 1)
        turned.append(float(np.rad2deg(np.median(np.arccos(trace)))))
    return files, np.array(turned)


def rigid_motions(
    half: HalfModel, bodies: Bool[np.ndarray, "k n n n"], pixel_size: float, name: str | Path = ""
) -> list[Rigid]:
    """Fit the rigid motion of each body in each of a half's images.

    **Raises:** `InputError` if a body has too few Gaussians.
    """
    points = np.asarray(half.gaussians.positions, np.float64)
    amplitude = np.asarray(half.gaussians.amplitude, np.float64)
    n = bodies.shape[-1]
    index = np.clip(np.rint(points / pixel_size).astype(int) + n // 2, 0, n - 1)
    inside = bodies[:, index[:, 2], index[:, 1], index[:, 0]]
    for k, rows in enumerate(inside):
        if rows.sum() < _FEWEST:
            raise InputError(
                f"{name}: mask {k + 1} holds {int(rows.sum())} Gaussians; {_FEWEST} or more tell "
                "how a body moves: is it a mask of this map?"
            )
    parts = [Body.of(points[rows], amplitude[rows]) for rows in inside]
    field = half.deformation
    if hasattr(field, "modes"):
        # Moments are linear in the field: those of the modes serve all images.
        factors = cast(FactorisedDeformation, field)
        modes = np.swapaxes(np.asarray(factors.modes(half.gaussians.positions)), 0, 1)
        weights = np.asarray(factors.weights(jnp.asarray(half.latents)), np.float64)
        pairs = zip(parts, inside, strict=True)
        return [part.fit(part.moments(modes[:, rows]).mixed(weights)) for part, rows in pairs]
    sums: list[list[Moments]] = [[] for _ in parts]
    for moved in displacements(half, half.latents):
        for k, (part, rows) in enumerate(zip(parts, inside, strict=True)):
            sums[k].append(part.moments(moved[:, rows]))
    joined = [Moments(*map(np.concatenate, zip(*one, strict=True))) for one in sums]
    return [part.fit(moments) for part, moments in zip(parts, joined, strict=True)]


def displacements(half: HalfModel, latents: Float[np.ndarray, "m d"], every: int = 1):
    """Yield displacements of a half's Gaussians `(b, g, 3)` in Å, some latents at a time.

    **Arguments:** `every`: how many Gaussians one stands for.
    """
    points = half.gaussians.positions[::every]
    move = jax.jit(lambda field, z: field(points, z))
    for start in range(0, len(latents), _CHUNK):
        part = latents[start : start + _CHUNK]
        # One shape, one compilation: the last piece is filled up.
        filled = np.zeros((min(_CHUNK, len(latents)), latents.shape[1]), np.float32)
        filled[: len(part)] = part
        yield np.asarray(move(half.deformation, jnp.asarray(filled)), np.float64)[: len(part)]


def write_masks(
    run: Run,
    count: int = 4,
    refinements: int = 2,
    resolution: float = 20.0,
    epoch: int | None = None,
    seed: int = 0,
) -> list[Path]:
    """Find bodies and write their masks: `masks/mask_body1.mrc`, `masks/smooth_mask_body1.mrc`, ….

    The first kind are 0 or 1, disjoint, and reach half the resolution beyond the Gaussians; the
    second are soft and add up to 1 wherever the first are 1.

    **Arguments:** `resolution` of the masks (Å). See `find_bodies` for the others.

    **Raises:** `InputError` if the model has too few Gaussians for so many bodies.
    """
    model = load_flexible(run, epoch)
    half = model.halves[0]
    points = np.asarray(half.gaussians.positions, np.float64)
    if not 1 <= count <= len(points) // (2 * _FEWEST):
        raise InputError(
            f"--number-of-masks {count}: {len(points)} Gaussians make 1 to "
            f"{len(points) // (2 * _FEWEST)} bodies"
        )
    latents = np.asarray(run.latents(epoch).mean, np.float32)
    chosen = np.random.default_rng(seed).permutation(len(latents))[:_SAMPLE]
    moved = np.concatenate(list(displacements(half, latents[np.sort(chosen)])))
    found = find_bodies(points, moved, count, refinements, seed)
    reach = max(_DILATION * resolution, model.pixel_size)
    masks = masks_of_bodies(points, found.label, count, model.box, model.pixel_size, reach)
    shares = body_shares(masks, model.pixel_size, seam=reach)
    folder = run.path / MASKS
    folder.mkdir(exist_ok=True)
    for kind in ("mask_body*.mrc", "smooth_mask_body*.mrc"):
        for old in folder.glob(kind):
            old.unlink()
    files = []
    for k in range(count):
        file = folder / f"mask_body{k + 1}.mrc"
        write_map(file, masks[k].astype(np.float32), model.pixel_size)
        write_map(folder / f"smooth_{file.name}", shares[k], model.pixel_size)
        files.append(file)
    return files


def masks_folder(run: Run) -> Path:
    """Find the masks a run has.

    **Raises:** `InputError` if it has none.
    """
    own = run.config.get("flexible", {}).get("deformation_masks")
    if own is not None:
        return Path(own)
    if not (run.path / MASKS).is_dir():
        raise InputError(
            f"{run.path}: has no masks of bodies; make them with vitreous "
            "compute-masks-for-rigid-transforms, or give a folder with --masks"
        )
    return run.path / MASKS
