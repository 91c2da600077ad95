"""One pass over images: the E-step of each, and the sums that the M-step needs.

Pixels are worked on in chunks, shells ascending, as many as are in use: one compiled pass serves
every stage of the fit. Imaged fields are held for one batch at a time, from E-step to M-step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.shift import phase_shift
from vitreous.geometry.small_matrices import pack_symmetric
from vitreous.imaging.slicing import read_windows, rotated_frequencies, trilinear_corners
from vitreous.methods.subspace.expectation import ContrastPrior, Posterior, Products, posterior
from vitreous.methods.subspace.model import (
    CHUNK,
    Band,
    Noise,
    chunks_up_to,
    inverse_noise,
    padded_pixels,
)
from vitreous.particles.prepare import Batch
from vitreous.reconstruction.foundation import transfer_at
from vitreous.reconstruction.insertion import empty_table, insert_slices


class Sums(NamedTuple):
    """Hold what a pass adds up; sums over disjoint images add.

    **Fields:** `table`: paired table of `K+1` residual numerators and packed weights, for each
    half. `power`: expected residual power per optics group and shell, `pixels` how many pixels it
    comes from. `evidence`: per half and number of components. `first`, `second`: moments of z per
    half. `particles`: per half.
    """

    table: Float[Array, "rows channels"]
    power: Float[Array, "groups shells"]
    pixels: Float[Array, "groups shells"]
    evidence: Float[Array, "2 k"]
    first: Float[Array, "2 d"]
    second: Float[Array, "2 d d"]
    particles: Float[Array, " 2"]


class Seen(NamedTuple):
    """Hold what a pass says of each particle; see `Posterior`."""

    mean: Float[Array, "g d"]
    covariance: Float[Array, "g d d"]
    contrast: Float[Array, " g"]
    evidence: Float[Array, " g"]


class _Images(NamedTuple):
    """A batch with what every chunk needs, pixels filled up to whole chunks."""

    batch: Batch
    pixels: Complex[Array, "b q"]
    frequency: Float[Array, "q 2"]
    weight: Float[Array, "b q"]
    half: Array


def empty_sums(band: Band, groups: int, dtype=jnp.float32) -> Sums:
    """Make sums of nothing."""
    k, d = band.fields, band.components
    table = empty_table(band.shape, 2, k, k * (k + 1) // 2).astype(dtype)
    return Sums(
        table,
        jnp.zeros((groups, band.shells), dtype),
        jnp.zeros((groups, band.shells), dtype),
        jnp.zeros((2, k), dtype),
        jnp.zeros((2, d), dtype),
        jnp.zeros((2, d, d), dtype),
        jnp.zeros(2, dtype),
    )


def add_batch(
    sums: Sums,
    table: Float[Array, "rows c"],
    batch: Batch,
    half: Array,
    noise: Noise,
    group: Array,
    collect: Array,
    band: Band,
    contrast: ContrastPrior,
    tilts: int = 1,
) -> tuple[Sums, Seen]:
    """Take the E-step of a batch and add what the M-step needs.

    **Arguments:** `table`: `grid_table` of the current estimate. `half`, `group`: of the images
    of the batch (half set, optics group). `collect`: False leaves table and noise power alone,
    where no M-step is to follow. `tilts`: so many images in a row show one particle.
    """
    images = _images(batch, half, noise, group, band)
    last = chunks_up_to(band, noise.last_shell)
    products, imaged = _products(images, table, last, band)
    seen = posterior(_of_particles(products, batch, tilts), contrast)
    # What is known of a particle, for each of its images that count.
    first = jnp.repeat(seen.first, tilts, axis=0) * batch.weight[:, None]
    second = jnp.repeat(seen.second, tilts, axis=0) * batch.weight[:, None, None]
    last = jnp.where(collect, last, 0)
    sums = _insert(sums, images, imaged, (first, second), last, group, band)
    counted = jnp.max(batch.weight.reshape(-1, tilts), axis=1)
    member = jax.nn.one_hot(half[::tilts], 2, dtype=counted.dtype) * counted[:, None]
    moment = seen.covariance + seen.mean[:, :, None] * seen.mean[:, None, :]
    sums = sums._replace(
        evidence=sums.evidence + _contract("bh,bk->hk", member, seen.evidence),
        first=sums.first + _contract("bh,bd->hd", member, seen.mean),
        second=sums.second + _contract("bh,bde->hde", member, moment),
        particles=sums.particles + member.sum(0),
    )
    return sums, Seen(seen.mean, seen.covariance, seen.contrast, seen.evidence[:, -1])


def infer(
    table: Float[Array, "rows c"],
    batch: Batch,
    half: Array,
    noise: Noise,
    group: Array,
    band: Band,
    contrast: ContrastPrior,
) -> Posterior:
    """Take the E-step of a batch alone, every image a particle of its own."""
    images = _images(batch, half, noise, group, band)
    last = chunks_up_to(band, noise.last_shell)
    return posterior(_products(images, table, last, band, keep=False)[0], contrast)


def _of_particles(products: Products, batch: Batch, tilts: int) -> Products:
    """Add up what the images of each particle say; they share its coordinates."""
    if tilts == 1:
        return products

    def add(of_images: Array) -> Array:
        weight = batch.weight.reshape(-1, *(1,) * (of_images.ndim - 1))
        return (of_images * weight).reshape(-1, tilts, *of_images.shape[1:]).sum(axis=1)

    return Products(*map(add, products))


def _images(batch: Batch, half, noise: Noise, group, band: Band) -> _Images:
    frequency, multiplicity, shell = (jnp.asarray(a) for a in padded_pixels(band))
    count = len(band.pixels)
    fill = frequency.shape[0] - count
    pixels = jnp.pad(batch.pixels[:, :count], [(0, 0), (0, fill)])
    weight = inverse_noise(noise, band)[group][:, shell]
    weight = weight * multiplicity.astype(weight.dtype)[None]
    return _Images(batch, pixels, frequency.astype(weight.dtype), weight, half)


class _Chunk(NamedTuple):
    """Some pixels of a batch: centred data (real parts, then imaginary), CTF, weights, places."""

    data: Float[Array, "b qq"]
    ctf: Float[Array, "b q"]
    weight: Float[Array, "b q"]
    coordinates: Float[Array, "b q 3"]


def _chunk(images: _Images, number: Array, band: Band) -> _Chunk:
    batch = images.batch
    start = number * CHUNK
    k = jax.lax.dynamic_slice_in_dim(images.frequency, start, CHUNK)
    pixels = jax.lax.dynamic_slice_in_dim(images.pixels, start, CHUNK, axis=1)
    weight = jax.lax.dynamic_slice_in_dim(images.weight, start, CHUNK, axis=1)
    physical = k[None] / (band.box * batch.pixel_size[:, None, None])
    assert batch.rotation is not None
    coordinates = rotated_frequencies(batch.rotation, k)
    centred = pixels * phase_shift(physical, -batch.shift)
    return _Chunk(_planes(centred), transfer_at(batch, physical), weight, coordinates)


def _planes(values: Complex[Array, "b q *k"]) -> Float[Array, "b qq *k"]:
    """List real parts, then imaginary parts: products then cost half of complex ones."""
    return jnp.concatenate([values.real, values.imag], axis=1)


def _twice(values: Float[Array, "b q"]) -> Float[Array, "b qq"]:
    return jnp.concatenate([values, values], axis=1)


def _products(
    images: _Images, table: Float[Array, "rows c"], last: Array, band: Band, keep: bool = True
) -> tuple[Products, Float[Array, "n b qq k"]]:
    """Take the inner products of images and imaged fields; also returns the latter by chunk."""
    b, k = images.batch.pixels.shape[0], band.fields
    dtype = images.weight.dtype

    def add(number: Array, carried: tuple[Products, Array]) -> tuple[Products, Array]:
        total, kept = carried
        part = _chunk(images, number, band)
        window = trilinear_corners(part.coordinates, band.shape)
        offset = images.half[:, None] * band.shape.voxels
        window = window._replace(entries=tuple(entry + offset for entry in window.entries))
        imaged = _planes(read_windows(table, window)) * _twice(part.ctf)[..., None]
        weight = _twice(part.weight)
        weighed = imaged * weight[..., None]
        total = Products(
            total.gram + _contract("bqk,bql->bkl", weighed, imaged),
            total.projection + _contract("bqk,bq->bk", weighed, part.data),
            total.square + jnp.sum(part.data**2 * weight, axis=1),
        )
        if keep:
            kept = jax.lax.dynamic_update_index_in_dim(kept, imaged, number, 0)
        return total, kept

    start = Products(jnp.zeros((b, k, k), dtype), jnp.zeros((b, k), dtype), jnp.zeros(b, dtype))
    kept = jnp.zeros((band.chunks if keep else 0, b, 2 * CHUNK, k), dtype)
    return jax.lax.fori_loop(0, last, add, (start, kept))


def _insert(sums: Sums, images: _Images, imaged, moments, last, group, band: Band) -> Sums:
    _, multiplicity, shell = (jnp.asarray(a) for a in padded_pixels(band))
    first, second = moments
    member = jax.nn.one_hot(group, sums.power.shape[0], dtype=first.dtype)
    packed = pack_symmetric(second)
    counted = images.batch.weight

    def add(number: Array, carried):
        table, power, pixels = carried
        part = _chunk(images, number, band)
        fields = jax.lax.dynamic_index_in_dim(imaged, number, keepdims=False)
        # Σ_l P_l E[x_k x_l]: what the model expects of the product of image and x_k.
        expected = _contract("bql,blk->bqk", fields, second)
        residual = part.data[..., None] * first[:, None] - expected
        # A pixel and its mate count once between them; column kx = 0 lists both.
        share = part.weight / 2 * part.ctf
        numerator = _twice(share)[..., None] * residual
        table = insert_slices(
            table,
            part.coordinates,
            jax.lax.complex(numerator[:, :CHUNK], numerator[:, CHUNK:]),
            (share * part.ctf)[..., None] * packed[:, None],
            images.half,
            band.shape,
        )
        mean = _contract("bqk,bk->bq", fields, first)
        left = part.data * (part.data * counted[:, None] - 2 * mean)
        left += jnp.sum(fields * expected, axis=-1)
        where = jax.lax.dynamic_slice_in_dim(shell, number * CHUNK, CHUNK)
        many = jax.lax.dynamic_slice_in_dim(multiplicity, number * CHUNK, CHUNK).astype(left.dtype)
        of_groups = _contract("bg,bq->gq", member, left[:, :CHUNK] + left[:, CHUNK:])
        power = power.at[:, where].add(of_groups * many[None])
        size = (member * counted[:, None]).sum(0)[:, None] * many[None]
        return table, power, pixels.at[:, where].add(size)

    table, power, pixels = jax.lax.fori_loop(0, last, add, (sums.table, sums.power, sums.pixels))
    return sums._replace(table=table, power=power, pixels=pixels)


def _contract(formula: str, *arrays: Array) -> Array:
    """Contract at full precision: accelerators would shorten the factors."""
    return jnp.einsum(formula, *arrays, precision="highest")
