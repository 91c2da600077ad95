"""Molecules as sums of Gaussians: exact projections, slices and maps.

Each Gaussian has an integral (`amplitude`) and a variance per axis, so every formula is a closed
form. The beam integral carries the unit of amplitude / Å²; for scattering factors in Å the map is
the potential `U` in Å⁻².
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.geometry.shift import phase_shift
from vitreous.imaging.slicing import rotated_frequencies

Sampling = Literal["average", "point"]


class GaussianAtoms(NamedTuple):
    """Hold `m` atoms of `k` Gaussians each.

    Fields: `position` (Å from the box centre, x y z), shape `(m, 3)` or, one conformation an
    image, `(b, m, 3)`; `amplitude`, the integral of each Gaussian; `variance` (Å²) along an axis.
    """

    position: Float[Array | np.ndarray, "... m 3"]
    amplitude: Float[Array | np.ndarray, "m k"]
    variance: Float[Array | np.ndarray, "m k"]


def _profile(
    centre: Float[Array, "... m"],
    variance: Float[Array, "m k"],
    box: int,
    pixel_size: float,
    sampling: Sampling,
) -> Float[Array, "... g n"]:
    """Tabulate unit Gaussians along one axis, `g = m · k`, at pixels or averaged over them."""
    sigma = jnp.sqrt(variance)
    batch = centre.shape[:-1]
    c = jnp.broadcast_to(centre[..., None], (*batch, *variance.shape)).reshape(*batch, -1, 1)
    s = sigma.reshape(*(1,) * len(batch), -1, 1)
    edges = sampling == "average"
    x = (jnp.arange(box + edges, dtype=centre.dtype) - box // 2 - 0.5 * edges) * pixel_size
    u = (x.reshape(*(1,) * (len(batch) + 1), -1) - c) / s
    if edges:
        cumulative = jax.lax.erf(u * np.sqrt(0.5).item())
        return (cumulative[..., 1:] - cumulative[..., :-1]) * (0.5 / pixel_size)
    return jnp.exp(-0.5 * u * u) / (s * np.sqrt(2 * np.pi).item())


def lab_frame(atoms: GaussianAtoms, rotation: Float[Array, "b 3 3"]) -> Float[Array, "b m 3"]:
    """Turn the atoms, Å in image coordinates."""
    position = jnp.asarray(atoms.position)
    if position.ndim == 2:
        position = position[None]
    return jnp.sum(rotation[:, None] * position[:, :, None], axis=-1)


def project_gaussians(
    atoms: GaussianAtoms,
    rotation: Float[Array, "b 3 3"],
    box: int,
    pixel_size: float,
    shift: Float[Array, "b 2"] | None = None,
    sampling: Sampling = "average",
) -> Float[Array, "b n n"]:
    """Integrate a molecule along the beam for every pose.

    **Arguments:** `rotation`: volume to image. `shift`: Å, where the centre lies. `sampling`:
    pixel values are averages over the pixel (exact for any width) or values at its centre.

    **Returns:** beam integrals, amplitude unit per Å². Divided by the pixel size they are the
    projections `Σ_z` of the map that `gaussian_map` gives.
    """
    lab = lab_frame(atoms, rotation)
    if shift is not None:
        lab = lab[..., :2] + shift[:, None]
    variance, amplitude = jnp.asarray(atoms.variance), jnp.asarray(atoms.amplitude)
    columns = _profile(lab[..., 0], variance, box, pixel_size, sampling)
    rows = _profile(lab[..., 1], variance, box, pixel_size, sampling)
    rows = rows * amplitude.reshape(1, -1, 1)
    return jnp.einsum("bgy,bgx->byx", rows, columns, precision="highest")


def in_pieces(x: Float[Array, "m ..."], size: int, filling: float = 0.0) -> Float[Array, "c s ..."]:
    """Cut the first axis in pieces of one size, the last filled up; the size never exceeds it."""
    size = max(1, min(size, len(x)))
    widths = [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, widths, constant_values=filling).reshape(-1, size, *x.shape[1:])


def transform_gaussians(
    atoms: GaussianAtoms, frequency: Float[Array, "b p 3"], chunk: int = 256
) -> Complex[Array, "b p"]:
    """Evaluate the continuous Fourier transform of a molecule, term by term: the oracle.

    **Arguments:** `frequency`: `q` in cycles/Å, one set an image. `chunk`: atoms at a time.

    **Returns:** `Σ A exp(−2π²σ²q²) exp(−2πi q·x)`, amplitude units.
    """
    position = jnp.asarray(atoms.position)
    amplitude = in_pieces(jnp.asarray(atoms.amplitude), chunk)
    variance = in_pieces(jnp.asarray(atoms.variance), chunk, 1.0)

    def one(image: tuple[Array, Array]) -> Complex[Array, " p"]:
        points, q = image
        square = jnp.sum(q * q, axis=-1)

        @jax.checkpoint
        def add(total, part):
            x, a, v = part
            decay = jnp.exp((-2 * np.pi**2) * square[:, None, None] * v[None])
            form = jnp.sum(a[None] * decay, axis=-1)
            phases = phase_shift(q[None], x)
            return total + jnp.sum(form.T.astype(phases.dtype) * phases, axis=0), None

        zero = jax.lax.complex(jnp.zeros_like(square), jnp.zeros_like(square))
        return jax.lax.scan(add, zero, (in_pieces(points, chunk), amplitude, variance))[0]

    if position.ndim == 2:
        return jax.lax.map(lambda q: one((position, q)), frequency)
    return jax.lax.map(one, (position, frequency))


def slice_gaussians(
    atoms: GaussianAtoms,
    rotation: Float[Array, "b 3 3"],
    frequency: Float[Array, "p 2"],
    shift: Float[Array, "b 2"] | None = None,
) -> Complex[Array, "b p"]:
    """Evaluate the continuous Fourier transform of the projections.

    **Arguments:** `frequency` in cycles/Å.

    **Returns:** amplitude units. A sampled image's transform times its pixel area equals it where
    the image is neither cut nor aliased.
    """
    values = transform_gaussians(atoms, rotated_frequencies(rotation, frequency))
    return values if shift is None else values * phase_shift(frequency, shift)


def gaussian_map(
    atoms: GaussianAtoms,
    box: int,
    voxel_size: float,
    sampling: Sampling = "average",
    chunk: int = 2048,
) -> Float[Array, "n n n"]:
    """Lay a molecule onto a grid of voxels, `(z, y, x)`, amplitude unit per Å³.

    **Arguments:** `sampling`: averages over voxels, or values at their centres. `chunk`: how many
    Gaussians are laid at a time.
    """
    shape = np.shape(atoms.variance)
    centre = jnp.repeat(jnp.asarray(atoms.position), shape[1], axis=0)
    amplitude = jnp.asarray(atoms.amplitude).reshape(-1)
    variance = jnp.asarray(atoms.variance).reshape(-1)
    # Gaussians of no weight fill up the last chunk.
    parts = (
        in_pieces(centre, chunk),
        in_pieces(amplitude, chunk),
        in_pieces(variance[:, None], chunk, 1.0),
    )

    def add(total, part):
        centre, amplitude, variance = part
        x, y, z = (_profile(centre[:, i], variance, box, voxel_size, sampling) for i in range(3))
        plane = (amplitude[:, None, None] * y[:, :, None] * x[:, None, :]).reshape(len(z), -1)
        return total + jnp.matmul(z.T, plane, precision="highest"), None

    empty = jnp.zeros((box, box * box), centre.dtype)
    return jax.lax.scan(add, empty, parts)[0].reshape(box, box, box)
