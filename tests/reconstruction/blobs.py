"""A volume whose Fourier transform is known everywhere: a few Gaussian blobs."""

import numpy as np

from vitreous.geometry.fourier import coordinates
from vitreous.particles.table import ParticleTable

# Four of them: three lie in a plane, which no mirror can tell from itself.
POSITION = np.array([[3.0, 1.0, -2.0], [-4.0, 2.5, 1.0], [0.5, -3.5, 3.0], [2.0, 4.0, 3.5]])
MASS = np.array([1.0, 0.6, 1.4, 0.8])
WIDTH = 1.5


def volume(box: int) -> np.ndarray:
    x = coordinates(box, 3).astype(np.float64)
    square = ((x[..., None, :] - POSITION) ** 2).sum(-1)
    density = np.exp(-square / (2 * WIDTH**2)) / (2 * np.pi * WIDTH**2) ** 1.5
    return (density * MASS).sum(-1).astype(np.float32)


def transform(k: np.ndarray, box: int) -> np.ndarray:
    """The continuous transform at frequencies `(..., 3)` in cycles/box, float64."""
    envelope = np.exp(-2 * (np.pi * WIDTH / box) ** 2 * (k**2).sum(-1))
    phases = np.exp(-2j * np.pi / box * (k @ POSITION.T))
    return envelope * (phases @ MASS)


def slices(rotation: np.ndarray, frequency: np.ndarray, box: int) -> np.ndarray:
    """Noise-free images at frequencies `(p, 2)`: values at `Rᵀ (kx, ky, 0)`."""
    k = np.einsum("pj,bji->bpi", frequency.astype(np.float64), rotation[:, :2].astype(np.float64))
    return transform(k, box)


def images(rotation: np.ndarray, shift: np.ndarray, box: int) -> np.ndarray:
    """Real images of the blobs, moved by `shift` in pixels, without a CTF."""
    x = coordinates(box, 2).astype(np.float64)
    centre = POSITION @ rotation[:, :2].transpose(0, 2, 1) + shift[:, None]
    square = ((x[None, :, :, None] - centre[:, None, None]) ** 2).sum(-1)
    density = np.exp(-square / (2 * WIDTH**2)) / (2 * np.pi * WIDTH**2)
    return (density * MASS).sum(-1).astype(np.float32)


def table(rotation: np.ndarray, shift: np.ndarray, box: int, pixel_size: float, **more):
    """A particle table for images held in memory."""
    n = len(rotation)
    columns = {
        "stacks": ("memory",),
        "stack_id": np.zeros(n, np.int32),
        "image_index": np.arange(n),
        "box": np.full(n, box, np.int32),
        "pixel_size": np.full(n, pixel_size),
        "rotation": rotation.astype(np.float32),
        "shift": shift.astype(np.float32),
        "ctf": None,
        "optics_group": np.zeros(n, np.int32),
        "row": np.arange(n),
    }
    return ParticleTable(**{**columns, **more})


class MemorySource:
    """Images by index, from an array."""

    def __init__(self, stack: np.ndarray):
        self.stack = stack

    @property
    def box(self) -> int:
        return self.stack.shape[-1]

    def __len__(self) -> int:
        return len(self.stack)

    def read(self, index) -> np.ndarray:
        return self.stack[index]
