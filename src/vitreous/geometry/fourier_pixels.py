"""An image as a flat list of its half-plane Fourier pixels inside a radius."""

from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Array, Complex

from vitreous.geometry.fourier import frequencies, half_plane_weights


@dataclass(frozen=True)
class FourierPixels:
    """List the half-plane pixels with `min_shell <= shell <= max_shell`, sorted by shell.

    **Arguments:** `box`: side of the image in pixels. `max_shell`: outermost shell kept (rounded
    radius in cycles/box), at most `(box - 1) // 2` so that no Nyquist pixel, whose partner is
    itself, takes part. `min_shell`: 1 leaves out the zero frequency.
    """

    box: int
    max_shell: int
    min_shell: int = 1

    def __post_init__(self) -> None:
        limit = (self.box - 1) // 2
        if not 0 <= self.min_shell <= self.max_shell <= limit:
            raise ValueError(
                f"shells {self.min_shell}..{self.max_shell} do not fit a box of {self.box} "
                f"(largest whole shell: {limit})"
            )

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        k = frequencies(self.box, 2, half=True)
        shell = np.rint(np.hypot(k[..., 0], k[..., 1])).astype(np.int32)
        keep = (shell >= self.min_shell) & (shell <= self.max_shell)
        index = np.flatnonzero(keep)
        index = index[np.argsort(shell.ravel()[index], kind="stable")]
        weight = np.broadcast_to(half_plane_weights(self.box), shell.shape)
        return (
            index.astype(np.int32),
            k.reshape(-1, 2)[index],
            shell.ravel()[index],
            weight.ravel()[index].astype(np.float32),
        )

    @property
    def index(self) -> np.ndarray:
        """Flat position of each pixel in the `(box, box//2+1)` half plane, int32 `(p,)`."""
        return self._table[0]

    @property
    def frequency(self) -> np.ndarray:
        """Integer frequency `(kx, ky)` in cycles/box, float32 `(p, 2)`."""
        return self._table[1]

    @property
    def shell(self) -> np.ndarray:
        """Rounded radius of each pixel, int32 `(p,)`, ascending."""
        return self._table[2]

    @property
    def weight(self) -> np.ndarray:
        """Half-plane weight `m_k` (1 or 2), float32 `(p,)`."""
        return self._table[3]

    def __len__(self) -> int:
        return len(self.index)

    def count_up_to(self, shell: int) -> int:
        """Count the leading pixels with shell at most `shell`: a band is a slice `[:count]`."""
        return int(np.searchsorted(self.shell, shell, side="right"))

    def gather(self, half: Complex[Array, "... n h"]) -> Complex[Array, "... p"]:
        """Pick the pixels out of half planes."""
        return half.reshape(*half.shape[:-2], -1)[..., self.index]

    def scatter(self, values: Complex[Array, "... p"]) -> Complex[Array, "... n h"]:
        """Put pixels back into half planes; everything outside the list is 0."""
        # A gather through the inverse list: an accelerator and a CPU scatter slowly.
        inverse = np.full(self.box * (self.box // 2 + 1), len(self), np.int32)
        inverse[self.index] = np.arange(len(self), dtype=np.int32)
        padded = jax.numpy.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])
        return padded[..., inverse].reshape(*values.shape[:-1], self.box, self.box // 2 + 1)
