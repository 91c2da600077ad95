"""From maps as they were read to what a fit needs: cut, blurred alike, on one lattice, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitreous.errors import InputError
from vitreous.geometry.point_groups import point_group
from vitreous.maps import Map
from vitreous.methods.morph.config import MorphConfig
from vitreous.methods.morph.lattice import (
    bin_map,
    centre_of_box,
    cover,
    is_same_lattice,
    place_together,
    require_overlap,
    resample_like,
    support_box,
)
from vitreous.methods.morph.levels import Level, build_levels, peer_level
from vitreous.methods.morph.mesh import Mesh, build_mesh
from vitreous.methods.morph.sharpness import blur, relative_blur
from vitreous.methods.morph.symmetry import check_symmetry
from vitreous.methods.morph.thresholds import automatic_level, cut, find_molecule, level_enclosing
from vitreous.methods.morph.velocity import Triple

# Cubes of the mesh: enough to see a hinge bend, few enough to cost little.
MOST_CELLS = 1000


@dataclass(frozen=True)
class Problem:
    """Hold a fit ready to start.

    Fields: `levels`, coarsest first; `mesh` of the molecule; `centre` and `extent` (Å) of the
    velocity field, `pivot` of the symmetry axes; `source` and `targets`, cut, on one lattice, at
    their own sharpness; `thresholds` in the order of the maps; `blur` (σ, Å) that was laid on the
    source for the fit, and `target_blurs`, on each target against its noise.
    """

    levels: list[Level]
    mesh: Mesh
    centre: Triple
    extent: float
    pivot: Triple
    source: Map
    targets: list[Map]
    thresholds: list[float]
    blur: float
    target_blurs: list[float]


def prepare_morph(
    source: Map,
    targets: Sequence[Map],
    config: MorphConfig,
    source_threshold: float | None = None,
    target_thresholds: Sequence[float | None] = (),
    names: Sequence[str] = (),
) -> Problem:
    """Make a fit from maps.

    **Arguments:** thresholds: None chooses; the targets' then enclose the volume that the
    source's does, or end at the noise. `names` of the maps, for messages.

    **Raises:** `InputError` for maps that are empty, lie apart, or lack the symmetry claimed.
    """
    names = list(names) or ["the initial map", *(f"target {i + 1}" for i in range(len(targets)))]
    levels_given = list(target_thresholds) or [None] * len(targets)
    source, *others = place_together([source, *targets])
    level = automatic_level(source.data) if source_threshold is None else source_threshold
    whole, first = source, cut(source, level, names[0])
    cuts, levels_used, blurs = _cut_targets(first, others, levels_given, config, names)
    thresholds = [level, *levels_used]
    group = point_group(config.symmetry)
    if len(group) > 1:
        for map_cut, name in zip((first, *cuts), names, strict=True):
            middle = np.array([n // 2 for n in map_cut.data.shape[::-1]], np.float64)
            check_symmetry(name, config.symmetry, map_cut.data, group, middle)
    x, y, z = (float(v) for v in centre_of_box(whole))
    if config.is_peer:
        return _peer_problem(first, cuts, config, thresholds, (x, y, z), names)

    margin = max(4 * source.voxel_size, 0.06 * _side(first))
    lattice = cover(first, cuts, margin)
    ends = [resample_like(c, lattice) for c in cuts]
    ends = [replace(e, data=np.maximum(e.data, 0)) for e in ends]
    soft, sigma = lattice, 0.0
    if config.match_resolution:
        soft, sigma = _blur_alike(lattice, ends[0], names[0])
    binned = bin_map(soft, config.binning)
    side = max(whole.data.shape) * whole.voxel_size
    levels = build_levels(binned, [bin_map(e, config.binning) for e in ends], config, side)
    low, high = _joint_box([lattice, *ends])
    cx, cy, cz = (float(c) for c in (low + high) / 2)
    extent = float(np.max(high - low)) + 2 * margin
    return Problem(
        levels, _mesh_of(lattice), (cx, cy, cz), extent, (x, y, z), lattice, ends, thresholds,
        sigma, blurs,
    )  # fmt: skip


def _cut_targets(
    first: Map,
    others: Sequence[Map],
    levels: Sequence[float | None],
    config: MorphConfig,
    names: Sequence[str],
) -> tuple[list[Map], list[float], list[float]]:
    """Cut each target, where no level is given like the source; return maps, levels, blurs."""
    volume = np.count_nonzero(first.data) * first.voxel_size**3
    cuts, used, blurs = [], [], []
    for other, given, name in zip(others, levels, names[1:], strict=True):
        sigma = 0.0
        if given is None and config.is_peer:
            given = automatic_level(other.data)
        elif given is None:
            other, given, sigma = find_molecule(other, volume)
        used.append(float(given))
        blurs.append(sigma)
        cuts.append(cut(other, given, name))
        require_overlap(first, cuts[-1], (names[0], name))
    return cuts, used, blurs


def _blur_alike(sharp: Map, target: Map, name: str) -> tuple[Map, float]:
    """Blur the source like the target, if that is blurrier, to the same share of voxels."""
    sigma = relative_blur(sharp, target)
    if sigma == 0:
        return sharp, 0.0
    soft = blur(sharp, sigma)
    filled = float(np.count_nonzero(target.data > 0.01 * target.data.max()))
    return cut(soft, level_enclosing(soft.data, filled), name), sigma


def _mesh_of(lattice: Map) -> Mesh:
    """Mesh the molecule coarsely enough."""
    factor = 1
    while np.count_nonzero(bin_map(lattice, factor).data) > MOST_CELLS:
        factor += 1
    coarse = bin_map(lattice, factor)
    # Half-filled blocks at the rim belong to the mesh: beyond it nothing holds the field.
    return build_mesh(coarse.data, coarse.voxel_size, coarse.origin)


def _peer_problem(first, cuts, config, thresholds, pivot, names) -> Problem:
    """Take maps as the peer does: cubes on one lattice, one target."""
    if len(cuts) != 1:
        raise InputError("--compat takes one target map")
    if not is_same_lattice(first, cuts[0]) or len(set(first.data.shape)) != 1:
        raise InputError(
            f"{names[1]}: --compat needs cubes of one box, voxel size and origin; "
            "leave --compat out to have them resampled"
        )
    level = peer_level(first, cuts[0], config)
    binned = bin_map(first, config.binning)
    mesh = build_mesh(binned.data, binned.voxel_size, binned.origin)
    x, y, z = (float(o) - 0.5 * first.voxel_size for o in first.origin)
    extent = len(first.data) * first.voxel_size
    return Problem([level], mesh, (x, y, z), extent, pivot, first, cuts, thresholds, 0.0, [0.0])


def _side(a_map: Map) -> float:
    low, high = support_box(a_map)
    return float(np.max(high - low))


def _joint_box(maps: Sequence[Map]) -> tuple[np.ndarray, np.ndarray]:
    boxes = [support_box(m) for m in maps]
    return np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
