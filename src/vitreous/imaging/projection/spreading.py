"""Gaussians projected one by one onto the pixels they reach, with an analytic gradient.

Narrow ones are drawn wider, on a finer grid, and sharpened again in Fourier space: so any width is
band-limited as exactly as a matrix product would have it, at a cost of some 150 pixels each.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from vitreous.geometry.fourier import half_plane
from vitreous.imaging.fourier_grid import padded_box
from vitreous.imaging.gaussians import GaussianAtoms, lab_frame
from vitreous.imaging.grid import ImageGrid

# Standard deviations in pixels: what the given sampling shows without aliases (2e-4 at Nyquist),
# and what twice that sampling does (1e-6). Gaussians are cut off at REACH of them.
_WIDE, _NARROW, _REACH = 1.3, 0.6, 4.5


class SpreadingPlan(NamedTuple):
    """Say how Gaussians are drawn: side of the fine image, side of the window, added variance.

    The variance, in Å², is taken off again in Fourier space.
    """

    box: int
    window: int
    extra: float


def spreading_plan(
    widths: tuple[float, float] | None, box: int, pixel_size: float | None
) -> SpreadingPlan:
    """Choose a plan for the least and the largest standard deviation (Å) of some Gaussians.

    **Raises:** `ValueError` if widths or pixel size are not known, for then no window is.
    """
    if widths is None or pixel_size is None:
        raise ValueError(
            "method 'spread' must know widths and pixel size when code is compiled: "
            "give widths=(least, largest), and do not trace the grid"
        )
    low, high = widths
    wide = low >= _WIDE * pixel_size
    fine = box if wide else padded_box(box, 2.0)
    extra = 0.0 if wide else max(0.0, (_NARROW * pixel_size) ** 2 - low**2)
    sigma = np.sqrt(high**2 + extra) * fine / (box * pixel_size)
    return SpreadingPlan(fine, 2 * int(np.floor(_REACH * sigma + 0.5)) + 1, extra)


def _profiles(
    centre: Float[Array, "... g"], variance: Float[Array, " g"], box: int, window: int
) -> tuple[Int[Array, "... g"], Float[Array, "... g w"], Float[Array, "... g w"]]:
    """Tabulate unit Gaussians along an axis; also the first pixel, and distances from the centre.

    Centres are in pixels from the middle and wrap round the image. The first pixel counts from the
    edge of an image with a margin of `window` pixels.
    """
    place = centre + box // 2
    place = place - jnp.floor(place / box) * box
    first = jnp.floor(place + 0.5) - window // 2
    steps = jnp.arange(window, dtype=centre.dtype).reshape(*(1,) * centre.ndim, window)
    distance = (first - place)[..., None] + steps
    spread = variance.reshape(*(1,) * (centre.ndim - 1), -1, 1)
    profile = jnp.exp(-0.5 * distance * distance / spread) / jnp.sqrt(2 * np.pi * spread)
    return first.astype(jnp.int32) + window, profile, distance


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def spread(
    centre: Float[Array, "g 2"],
    variance: Float[Array, " g"],
    amplitude: Float[Array, " g"],
    box: int,
    window: int,
) -> Float[Array, "n n"]:
    """Add up Gaussians on an image that is periodic.

    **Arguments:** `centre`: `(x, y)` in pixels from the middle. `variance`: pixels². `window`: side
    of the square each is drawn in, odd and at most `box`.
    """
    x, columns, _ = _profiles(centre[:, 0], variance, box, window)
    y, rows, _ = _profiles(centre[:, 1], variance, box, window)
    rows = rows * amplitude[:, None]
    # A CPU adds in place, and fast; an accelerator must not wait for one Gaussian after another.
    image = jax.lax.platform_dependent(
        *(x, y, rows, columns),
        cpu=partial(add_one_by_one, side=box + 2 * window),
        default=partial(add_at_once, side=box + 2 * window),
    )
    return _fold(_fold(image, box, window).T, box, window).T


def add_one_by_one(
    x: Int[Array, " g"],
    y: Int[Array, " g"],
    rows: Float[Array, "g w"],
    columns: Float[Array, "g w"],
    side: int,
) -> Float[Array, "s s"]:
    """Add outer products to windows of an image whose first column and row are x and y."""
    window = rows.shape[1]

    def add(i, image):
        place = (y[i], x[i])
        old = jax.lax.dynamic_slice(image, place, (window, window))
        new = old + rows[i][:, None] * columns[i][None]
        return jax.lax.dynamic_update_slice(image, new, place)

    return jax.lax.fori_loop(0, len(x), add, jnp.zeros((side, side), rows.dtype))


def add_at_once(
    x: Int[Array, " g"],
    y: Int[Array, " g"],
    rows: Float[Array, "g w"],
    columns: Float[Array, "g w"],
    side: int,
) -> Float[Array, "s s"]:
    """Do as `add_one_by_one` by one scatter."""
    steps = np.arange(rows.shape[1], dtype=np.int32)
    index = (y[:, None, None] + steps[None, :, None]) * side
    index = index + x[:, None, None] + steps[None, None]
    values = rows[:, :, None] * columns[:, None, :]
    flat = jnp.zeros(side * side, rows.dtype)
    return flat.at[index].add(values, mode="promise_in_bounds").reshape(side, side)


def _fold(image: Float[Array, "s c"], box: int, margin: int) -> Float[Array, "n c"]:
    """Add the margins of the rows to the pixels they are copies of."""
    core = image[margin : margin + box]
    core = core.at[:margin].add(image[margin + box :])
    return core.at[box - margin :].add(image[:margin])


def _spread_forward(centre, variance, amplitude, box, window):
    image = spread(centre, variance, amplitude, box, window)
    return image, (centre, variance, amplitude)


def _spread_backward(box, window, saved, cotangent):
    """Interpolate the cotangent with each Gaussian and its derivatives."""
    centre, variance, amplitude = saved
    x, columns, dx = _profiles(centre[:, 0], variance, box, window)
    y, rows, dy = _profiles(centre[:, 1], variance, box, window)
    periodic = jnp.pad(cotangent, window, mode="wrap")

    def one(i):
        patch = jax.lax.dynamic_slice(periodic, (y[i], x[i]), (window, window))
        across = jnp.sum(patch * columns[i][None], axis=1)
        across_dx = jnp.sum(patch * (columns[i] * dx[i])[None], axis=1)
        across_dx2 = jnp.sum(patch * (columns[i] * dx[i] ** 2)[None], axis=1)
        value = jnp.sum(rows[i] * across)
        slope_x = jnp.sum(rows[i] * across_dx)
        slope_y = jnp.sum(rows[i] * dy[i] * across)
        square = jnp.sum(rows[i] * across_dx2) + jnp.sum(rows[i] * dy[i] ** 2 * across)
        return jnp.stack([value, slope_x, slope_y, square])

    def one_by_one():
        return jax.lax.map(one, jnp.arange(len(x)))

    def at_once():
        return jax.vmap(one)(jnp.arange(len(x)))

    found = jax.lax.platform_dependent(cpu=one_by_one, default=at_once)
    value, slope_x, slope_y, square = (found[:, i] for i in range(4))
    # ∂G/∂c = G d/σ² with d = pixel − centre; ∂G/∂σ² = G (d²/σ² − 2) / 2σ².
    to_centre = jnp.stack([slope_x, slope_y], axis=-1) * (amplitude / variance)[:, None]
    to_variance = 0.5 * amplitude * (square / variance - 2 * value) / variance
    return to_centre, to_variance, value


spread.defvjp(_spread_forward, _spread_backward)


def project_by_spreading(
    atoms: GaussianAtoms, rotation: Float[Array, "b 3 3"], grid: ImageGrid, plan: SpreadingPlan
) -> Complex[Array, "b n h"]:
    """Project Gaussians onto half planes by drawing each.

    **Returns:** as `separable.project_separably`, to some 1e-4.
    """
    n, fine = grid.box, plan.box
    if plan.window > fine:
        raise ValueError("Gaussians wider than the image cannot be spread; method='separable' can")
    position, amplitude, variance = (jnp.asarray(field) for field in atoms)
    step = (grid.extent / fine).astype(position.dtype)
    lab = lab_frame(atoms, rotation)[..., :2] / step
    terms = variance.shape[-1]
    spreads = (variance.reshape(-1) + plan.extra) / step**2
    weights = amplitude.reshape(-1)

    def one(points: Float[Array, "m 2"]) -> Complex[Array, "n h"]:
        centres = jnp.repeat(points, terms, axis=0)
        half = half_plane(spread(centres, spreads, weights, fine, plan.window))
        rows = np.fft.ifftshift(np.arange(n) - n // 2)
        return half[rows, : grid.columns]

    half = jax.lax.map(one, lab)
    scale = (n / grid.extent.astype(position.dtype)) ** 2
    if plan.extra == 0:
        return half * scale.astype(half.dtype)
    k = grid.frequencies().astype(position.dtype)
    sharpen = jnp.exp(2 * np.pi**2 * plan.extra * jnp.sum(k * k, axis=-1))
    return half * (scale * sharpen).astype(half.dtype)[None]
