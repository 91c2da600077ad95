"""Fourier shell correlation, and the resolution at which it first falls below a threshold.

Shell `i` of a box of side `n` stands for `i / n` cycles/pixel. The usual shells are rounded
radii, `i − ½ ≤ |k| < i + ½`; CryoBench's hold `i − 1 ≤ |k| < i`.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import frequencies, half_plane_weights, half_space
from vitreous.geometry.half_space_radii import voxel_shells
from vitreous.geometry.shells import shell_sum

ShellRule = Literal["rounded", "cryobench"]


def fsc_shells(box: int, rule: ShellRule = "rounded") -> np.ndarray:
    """Give the shell of every half-space voxel (rfft order), int32 `(n, n, n//2+1)`."""
    k = frequencies(box, 3, half=True).astype(np.float64)
    radius = np.sqrt(np.sum(k * k, axis=-1))
    shell = np.rint(radius) if rule == "rounded" else np.floor(radius) + 1
    return shell.astype(np.int32)


def correlate_half_spaces(
    first: Complex[Array, "*batch n n h"],
    second: Complex[Array, "*batch n n h"],
    rule: ShellRule = "rounded",
) -> Float[Array, "*batch shells"]:
    """Correlate two half-space transforms shell by shell; see `fourier_shell_correlation`."""
    box = first.shape[-2]
    count = box // 2
    if rule == "rounded":
        shell = voxel_shells(box).reshape(-1)
    else:
        shell = jnp.asarray(fsc_shells(box, rule).reshape(-1))
    products = jnp.stack([(first * second.conj()).real, jnp.abs(first) ** 2, jnp.abs(second) ** 2])
    mates = jnp.asarray(half_plane_weights(box)).astype(products.dtype)
    products = products * mates.reshape((1,) * (products.ndim - 1) + (-1,))
    flat = products.reshape(*products.shape[:-3], -1)
    cross, power_a, power_b = shell_sum(flat, shell, count)
    # Two roots, not the root of the product: powers of large maps overflow float32.
    norm = jnp.sqrt(power_a) * jnp.sqrt(power_b)
    empty = 1.0 if rule == "cryobench" else 0.0
    curve = jnp.where(norm > 0, cross / jnp.where(norm > 0, norm, 1), empty)
    return curve.at[..., 0].set(1)


@partial(jax.jit, static_argnames="rule")
def fourier_shell_correlation(
    first: Float[Array, "*batch n n n"],
    second: Float[Array, "*batch n n n"],
    rule: ShellRule = "rounded",
) -> Float[Array, "*batch shells"]:
    """Correlate two volumes shell by shell.

    **Arguments:** `rule`: `"rounded"` shells, or `"cryobench"` to compare with its tables.

    **Returns:** `n // 2` values; the first, which would be DC alone, is 1 by definition. A shell
    without power is 0 (1 by CryoBench's rule).

    **Source:** Harauz & van Heel (1986), `Re Σ F₁ F₂* / √(Σ|F₁|² Σ|F₂|²)`.
    """
    return correlate_half_spaces(half_space(first), half_space(second), rule)


def shell_frequencies(count: int, box: int, voxel_size: float = 1.0) -> np.ndarray:
    """Return the frequency of shells `0 … count−1` in cycles/Å (cycles/pixel by default)."""
    return np.arange(count) / (box * voxel_size)


def crossing(curve: Float[np.ndarray, " shells"], threshold: float) -> float | None:
    """Find where a curve first falls below a threshold, in shells, linearly interpolated.

    **Returns:** `None` if it never does.
    """
    below = np.flatnonzero(~(curve[1:] >= threshold)) + 1
    if len(below) == 0:
        return None
    i = int(below[0])
    left, right = float(curve[i - 1]), float(curve[i])
    if not np.isfinite(right) or left <= right:
        return float(i)
    return i - 1 + (left - threshold) / (left - right)


def resolution(
    curve: Float[np.ndarray, " shells"],
    voxel_size: float,
    threshold: float = 0.143,
    box: int | None = None,
) -> float:
    """Give the resolution at the first crossing of a threshold, in Å.

    **Arguments:** `box`: side of the volumes; by default twice the number of shells.

    **Returns:** the resolution, or `2 · voxel_size` (all that the sampling can hold) if the curve
    never falls below the threshold.
    """
    shell = crossing(np.asarray(curve), threshold)
    side = 2 * len(curve) if box is None else box
    if shell is None:
        return 2 * voxel_size
    return side * voxel_size / shell if shell > 0 else float("inf")
