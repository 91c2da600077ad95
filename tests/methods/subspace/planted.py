"""Images of a planted subspace: a few known components, known coordinates, white noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from vitreous.geometry.fourier import coordinates, image_from_half_plane
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
from vitreous.imaging.fourier_grid import volume_to_grid
from vitreous.imaging.slicing import slice_grid
from vitreous.methods.subspace.model import Band
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Batch, Normalization
from vitreous.particles.table import ParticleTable

# The band's own grid has this side: no interpolation lies between truth and images.
BOX, SHELL = 14, 6
RADIUS = 5.0


class Planted(NamedTuple):
    """`volumes`: mean and components `(K+1, n, n, n)`; `z` `(n, K)`; `batch`: all images."""

    volumes: np.ndarray
    z: np.ndarray
    batch: Batch
    noise: float
    band: Band


def smooth_volume(rng: np.random.Generator) -> np.ndarray:
    """A few blobs inside the sphere."""
    x = coordinates(BOX, 3).astype(np.float64)
    total = np.zeros((BOX,) * 3)
    for _ in range(4):
        centre = rng.normal(size=3)
        centre *= 3.0 * rng.uniform() ** (1 / 3) / np.linalg.norm(centre)
        total += rng.normal() * np.exp(-((x - centre) ** 2).sum(-1) / (2 * 1.4**2))
    return total


def plant(images: int, components: int, noise: float, seed: int = 0) -> Planted:
    """Make images of `mean + Σ z_k component_k` with CTFs, in normalised pixels."""
    rng = np.random.default_rng(seed)
    volumes = np.stack([smooth_volume(rng) for _ in range(components + 1)])
    basis, _ = np.linalg.qr(volumes[1:].reshape(components, -1).T)
    size = np.linalg.norm(volumes[0])
    scale = size * 0.6 ** np.arange(components)
    volumes[1:] = (basis * scale).T.reshape(components, *volumes.shape[1:])
    volumes = volumes.astype(np.float32)
    z = rng.normal(size=(images, components)).astype(np.float32)
    rotation = Rotation.random(images, random_state=seed).as_matrix().astype(np.float32)
    pixels = FourierPixels(BOX, SHELL)
    k = jnp.asarray(pixels.frequency)

    @jax.jit
    def fields(volume):
        return slice_grid(volume_to_grid(volume), jnp.asarray(rotation), k)

    parts = np.stack([np.asarray(fields(jnp.asarray(v))) for v in volumes], axis=-1)
    x = np.concatenate([np.ones((images, 1)), z], axis=1)
    constant = lambda value: np.full(images, value, np.float32)  # noqa: E731
    ctf = CTFParameters(
        rng.uniform(8000, 20000, images).astype(np.float32),
        rng.uniform(8000, 20000, images).astype(np.float32),
        rng.uniform(0, 180, images).astype(np.float32),
        constant(300),
        constant(2.7),
        constant(0.1),
        constant(0),
        constant(0),
        constant(1),
    )
    pixel_size = 4.0
    frequency = jnp.asarray(pixels.frequency / (BOX * pixel_size))[None]
    transfer = np.asarray(evaluate_ctf(frequency, CTFParameters(*map(jnp.asarray, ctf))))
    clean = transfer * np.einsum("ipk,ik->ip", parts, x)
    white = rng.normal(size=(2, *clean.shape)) * np.sqrt(noise / 2)
    # Both mates of column kx = 0 are listed: their noise is one draw and its conjugate.
    noisy = _paired(white[0] + 1j * white[1], pixels)
    data = (clean + noisy).astype(np.complex64)
    batch = Batch(
        jnp.asarray(data),
        jnp.asarray(rotation),
        jnp.zeros((images, 2)),
        jnp.full(images, pixel_size, jnp.float32),
        CTFParameters(*map(jnp.asarray, ctf)),
        jnp.arange(images, dtype=jnp.int32),
        jnp.ones(images),
    )
    return Planted(volumes, z, batch, noise, Band(BOX, SHELL, components))


def _paired(values: np.ndarray, pixels: FourierPixels) -> np.ndarray:
    place = {tuple(k): i for i, k in enumerate(pixels.frequency.astype(int).tolist())}
    for (kx, ky), i in place.items():
        if kx == 0 and ky > 0:
            values[:, place[(0, -ky)]] = values[:, i].conj()
    return values


class Memory:
    """Images by index, from an array."""

    box = BOX

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index) -> np.ndarray:
        return self.images[index]


def prepared(planted: Planted, **options) -> PreparedImages:
    """The same images as a prepared set: real images whose pixels are those of the batch."""
    pixels = FourierPixels(BOX, SHELL)
    half = pixels.scatter(planted.batch.pixels * np.float32(BOX).astype(np.complex64))
    images = np.asarray(image_from_half_plane(half, BOX))
    n = len(images)
    batch = planted.batch
    table = ParticleTable(
        stacks=("memory",),
        stack_id=np.zeros(n, np.int32),
        image_index=np.arange(n),
        box=np.full(n, BOX, np.int32),
        pixel_size=np.asarray(batch.pixel_size, np.float64),
        rotation=np.asarray(batch.rotation),
        shift=np.asarray(batch.shift),
        ctf=CTFParameters(*(np.asarray(field) for field in batch.ctf)),
        optics_group=np.zeros(n, np.int32),
        row=np.arange(n),
    )
    return PreparedImages.build(
        table,
        Memory(images),
        pixels=pixels,
        window_radius=None,
        normalization=Normalization(0.0, 1.0),
        **options,
    )
