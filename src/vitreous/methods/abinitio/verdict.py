"""What a search ended with: unmasked half maps, their agreement, and whether to believe it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.methods.abinitio.found import Found
from vitreous.methods.abinitio.halves import agreement
from vitreous.methods.abinitio.orientations import spread_over_copies
from vitreous.methods.abinitio.progress import Progress
from vitreous.methods.abinitio.reference import MapSums, maps_unfiltered
from vitreous.methods.abinitio.setting import Setting
from vitreous.reconstruction.pose_refinement import Poses

# Shells that both half sets begin with.
SHARED_SHELL = 3
# Half maps of noise agree in the shells they share, and no further.
_CREDIBLE = 0.143


def conclude(setting: Setting, done: Progress) -> Found:
    halves, agreed = done.halves, done.agreed
    assert halves is not None
    assert agreed is not None
    assert halves.poses is not None
    assert halves.sums is not None
    assert agreed.sums is not None
    shells, mask = setting.pixels.max_shell + 1, setting.mask
    # What is reported is not masked: a mask makes noise of few voxels agree by chance.
    whole_box = jnp.ones_like(mask)
    plain = [
        np.asarray(maps_unfiltered(MapSums(*(part[h] for part in agreed.sums)), whole_box, shells))[
            0
        ]
        for h in range(2)
    ]
    fsc = agreement(setting, agreed.sums, whole_box)
    # Filtered by what the half maps agree on, and without the solvent.
    volumes = np.asarray(halves.volumes[0])
    sizes = np.asarray(setting.data.table.pixel_size, np.float32)
    poses: Poses = halves.poses
    converged, verdict = judge(fsc, done.rests)
    # Views from everywhere, for maps that are made without symmetry later.
    rotation = spread_over_copies(np.asarray(poses.rotation[:, 0]), setting.copies(), setting.seed)
    return Found(
        rotation=rotation,
        shift=np.asarray(poses.shift[:, 0]) * sizes[:, None],
        volumes=volumes,
        half_maps=np.stack(plain),
        fsc=fsc,
        latents=None,
        score=np.asarray(poses.score[:, 0]),
        converged=converged,
        verdict=verdict,
        history=done.history,
        is_dark=done.is_dark,
        start=None if done.best is None else np.asarray(done.best.volumes),
    )


def is_credible(fsc: Float[np.ndarray, " shells"]) -> bool:
    """Tell whether half maps agree beyond the shells they share."""
    return bool((fsc[SHARED_SHELL + 1 : SHARED_SHELL + 4] > _CREDIBLE).all())


def judge(fsc: Float[np.ndarray, " shells"], rests: bool) -> tuple[bool, str]:
    """Say whether to believe what was found, and why.

    **Arguments:** `fsc`: of half maps that share no more than their first shells. `rests`: whether
    poses stopped moving.
    """
    if not is_credible(fsc):
        return False, (
            "did not converge: half sets agree only on the shells they were started with; these "
            "images, or this many of them, do not say what the particle looks like"
        )
    below = np.flatnonzero(fsc[1:] < _CREDIBLE)
    last = int(below[0]) if len(below) else len(fsc) - 1
    if not rests:
        return False, f"did not converge: poses still move; half maps agree to shell {last}"
    return True, f"converged: poses rest, and half maps agree to shell {last}"
