"""One pass over images: the E-step of each, and the sums that the M-step needs.

Pixels are worked on in chunks, shells ascending, as many as are in use: one compiled pass serves
every stage of the fit. Nothing of the size images × pixels × components is ever held.
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
    half. `images`: per half.
    """

    table: Float[Array, "rows channels"]
    power: Float[Array, "groups shells"]
    pixels: Float[Array, "groups shells"]
    evidence: Float[Array, "2 k"]
    first: Float[Array, "2 d"]
    second: Float[Array, "2 d d"]
    images: Float[Array, " 2"]


class Seen(NamedTuple):
    """Hold what a pass says of each image; see `Posterior`."""

    mean: Float[Array, "b d"]
    covariance: Float[Array, "b d d"]
    contrast: Float[Array, " b"]
    evidence: Float[Array, " b"]


class _Images(NamedTuple):
    """A batch with what every chunk needs, pixels filled up to whole chunks."""

    batch: Batch
    pixels: Complex[Array, "b q"]
    frequency: Float[Array, "q 2"]
    weight: Float[Array, "b q"]
    half: Array
    table: Float[Array, "rows c"]


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
) -> tuple[Sums, Seen]:
    """Take the E-step of a batch and add what the M-step needs.

    **Arguments:** `table`: `grid_table` of the current estimate. `half`, `group`: of the images
    of the batch (half set, optics group). `collect`: False leaves table and noise power alone,
    where no M-step is to follow.
    """
    images = _images(table, batch, half, noise, group, band)
    last = chunks_up_to(band, noise.last_shell)
    seen = posterior(_products(images, last, band), contrast)
    counted = batch.weight
    first, second = (
        seen.first * counted[:, None],
        seen.second * counted[:, None, None],
    )
    sums = _insert(sums, images, first, second, jnp.where(collect, last, 0), group, band)
    member = jax.nn.one_hot(half, 2, dtype=counted.dtype) * counted[:, None]
    moment = seen.covariance + seen.mean[:, :, None] * seen.mean[:, None, :]
    sums = sums._replace(
        evidence=sums.evidence + _contract("bh,bk->hk", member, seen.evidence),
        first=sums.first + _contract("bh,bd->hd", member, seen.mean),
        second=sums.second + _contract("bh,bde->hde", member, moment),
        images=sums.images + member.sum(0),
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
    """Take the E-step of a batch alone."""
    images = _images(table, batch, half, noise, group, band)
    return posterior(_products(images, chunks_up_to(band, noise.last_shell), band), contrast)


def _images(table, batch: Batch, half, noise: Noise, group, band: Band) -> _Images:
    frequency, multiplicity, shell = (jnp.asarray(a) for a in padded_pixels(band))
    count = len(band.pixels)
    fill = frequency.shape[0] - count
    pixels = jnp.pad(batch.pixels[:, :count], [(0, 0), (0, fill)])
    weight = inverse_noise(noise, band)[group][:, shell]
    weight = weight * multiplicity.astype(weight.dtype)[None]
    return _Images(batch, pixels, frequency.astype(weight.dtype), weight, half, table)


class _Chunk(NamedTuple):
    """Some pixels of a batch: centred data, CTF, weights, imaged fields, where they lie."""

    data: Complex[Array, "b q"]
    ctf: Float[Array, "b q"]
    weight: Float[Array, "b q"]
    fields: Complex[Array, "b q k"]
    coordinates: Float[Array, "b q 3"]


def _chunk(images: _Images, number: Array, band: Band) -> _Chunk:
    batch = images.batch
    start = number * CHUNK
    k = jax.lax.dynamic_slice_in_dim(images.frequency, start, CHUNK)
    pixels = jax.lax.dynamic_slice_in_dim(images.pixels, start, CHUNK, axis=1)
    weight = jax.lax.dynamic_slice_in_dim(images.weight, start, CHUNK, axis=1)
    physical = k[None] / (band.box * batch.pixel_size[:, None, None])
    ctf = transfer_at(batch, physical)
    assert batch.rotation is not None
    coordinates = rotated_frequencies(batch.rotation, k)
    window = trilinear_corners(coordinates, band.shape)
    offset = images.half[:, None] * band.shape.voxels
    window = window._replace(entries=tuple(entry + offset for entry in window.entries))
    return _Chunk(
        pixels * phase_shift(physical, -batch.shift),
        ctf,
        weight,
        read_windows(images.table, window),
        coordinates,
    )


def _products(images: _Images, last: Array, band: Band) -> Products:
    b, k = images.batch.pixels.shape[0], band.fields
    dtype = images.weight.dtype

    def add(number: Array, total: Products) -> Products:
        part = _chunk(images, number, band)
        imaged = part.fields * part.ctf[..., None].astype(part.fields.dtype)
        planes = jnp.concatenate([imaged.real, imaged.imag], axis=1)
        data = jnp.concatenate([part.data.real, part.data.imag], axis=1)
        weighed = planes * jnp.concatenate([part.weight, part.weight], axis=1)[..., None]
        square = part.data.real**2 + part.data.imag**2
        return Products(
            total.gram + _contract("bqk,bql->bkl", weighed, planes),
            total.projection + _contract("bqk,bq->bk", weighed, data),
            total.square + jnp.sum(square * part.weight, axis=1),
        )

    start = Products(jnp.zeros((b, k, k), dtype), jnp.zeros((b, k), dtype), jnp.zeros(b, dtype))
    return jax.lax.fori_loop(0, last, add, start)


def _insert(sums: Sums, images: _Images, first, second, last, group, band: Band) -> Sums:
    _, multiplicity, shell = (jnp.asarray(a) for a in padded_pixels(band))
    member = jax.nn.one_hot(group, sums.power.shape[0], dtype=first.dtype)
    packed = pack_symmetric(second)
    counted = images.batch.weight

    def add(number: Array, carried):
        table, power, pixels = carried
        part = _chunk(images, number, band)
        ctf = part.ctf[..., None].astype(part.fields.dtype)
        # Σ_l P_l E[x_k x_l]: what the model expects of the product of image and x_k.
        expected = ctf * jax.lax.complex(
            _contract("bql,bkl->bqk", part.fields.real, second),
            _contract("bql,bkl->bqk", part.fields.imag, second),
        )
        residual = part.data[..., None] * first[:, None].astype(ctf.dtype) - expected
        # A pixel and its mate count once between them; column kx = 0 lists both.
        share = (part.weight / 2)[..., None]
        table = insert_slices(
            table,
            part.coordinates,
            (share.astype(ctf.dtype) * ctf) * residual,
            (share * part.ctf[..., None] ** 2) * packed[:, None],
            images.half,
            band.shape,
        )
        imaged = ctf * part.fields
        mean = jnp.sum(imaged * first[:, None].astype(ctf.dtype), axis=-1)
        left = (part.data.real**2 + part.data.imag**2) * counted[:, None]
        left -= 2 * (part.data.real * mean.real + part.data.imag * mean.imag)
        left += jnp.sum(imaged.real * expected.real + imaged.imag * expected.imag, axis=-1)
        where = jax.lax.dynamic_slice_in_dim(shell, number * CHUNK, CHUNK)
        many = jax.lax.dynamic_slice_in_dim(multiplicity, number * CHUNK, CHUNK).astype(left.dtype)
        power = power.at[:, where].add(_contract("bg,bq->gq", member, left) * many[None])
        size = (member * counted[:, None]).sum(0)[:, None] * many[None]
        return table, power, pixels.at[:, where].add(size)

    table, power, pixels = jax.lax.fori_loop(0, last, add, (sums.table, sums.power, sums.pixels))
    return sums._replace(table=table, power=power, pixels=pixels)


def _contract(formula: str, *arrays: Array) -> Array:
    """Contract at full precision: accelerators would shorten the factors."""
    return jnp.einsum(formula, *arrays, precision="highest")
