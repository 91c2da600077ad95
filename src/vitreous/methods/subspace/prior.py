"""How strongly each volume is drawn to 0 on each shell: what half sets say about its signal."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from vitreous.reconstruction.fsc import fourier_shell_correlation


def component_fsc(volumes: Float[Array, "2 k m m m"], shells: int) -> Float[Array, "k shells"]:
    """Correlate mean and components of two half sets shell by shell, halves already aligned.

    The curves are smoothed over three shells, since the inner ones hold few voxels; the zero
    frequency takes the value of shell 1.
    """
    curve = fourier_shell_correlation(volumes[0], volumes[1])
    curve = curve.at[:, 0].set(curve[:, 1])
    curve = jnp.pad(curve, [(0, 0), (0, max(0, shells - curve.shape[1]))], mode="edge")
    wide = jnp.pad(curve[:, :shells], [(0, 0), (1, 1)], mode="edge")
    return (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4


def half_set_penalty(
    weight: Float[Array, "g k shells"], fsc: Float[Array, "k shells"], floor: float | Array
) -> Float[Array, "g k shells"]:
    """Return the inverse signal power of each volume on each shell.

    **Arguments:** `weight`: mean weight per voxel (inverse noise power of an unregularised half
    map). `fsc`: of the half sets. `floor`: least correlation believed in; while halves have not
    converged, a high one keeps signal alive.

    **Source:** Scheres (2012), per component: signal power `= FSC / (1 − FSC) / weight`.
    """
    believed = jnp.clip(fsc, floor, 0.999)
    # Where nothing was measured yet the weight is 0; any positive number keeps the volume at 0.
    return jnp.maximum(weight, 1e-12) * ((1 - believed) / believed)[None]
