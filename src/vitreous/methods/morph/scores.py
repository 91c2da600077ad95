"""How well a prediction matches: correlation, Fourier shells, and the half map it never saw."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitreous.maps import Map
from vitreous.methods.morph.lattice import resample_like, to_cube
from vitreous.methods.morph.predict import push_frames
from vitreous.methods.morph.weights import Flow
from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation, resolution
from vitreous.reconstruction.masks import mask_from_map


def correlation(first: Float[np.ndarray, "z y x"], second: Float[np.ndarray, "z y x"]) -> float:
    """Correlate two maps over all voxels (Pearson); 0 where one is constant."""
    a, b = (x.ravel().astype(np.float64) - x.mean(dtype=np.float64) for x in (first, second))
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else 0.0


def shell_curve(
    first: Float[np.ndarray, "z y x"], second: Float[np.ndarray, "z y x"]
) -> Float[np.ndarray, " shells"]:
    """Correlate two maps of any box, shell by shell, in the cube that holds them."""
    a, b = (jnp.asarray(to_cube(x), jnp.float32) for x in (first, second))
    return np.asarray(fourier_shell_correlation(a, b))


def resolution_at(curve: Float[np.ndarray, " shells"], voxel: float, threshold: float) -> float:
    """Give the resolution in Å at which a curve of `shell_curve` falls below a threshold."""
    return resolution(curve, voxel, threshold)


class HalfMapScore:
    """Score a flow by a half map that the fit does not see; call it with a flow.

    The score is the mean FSC of the pushed source with the held-out half map, both inside a soft
    mask around the molecule, over the shells in which the two half maps agree (FSC ≥ 0.143).

    **Arguments:** `source`: cut, on the lattice of the fit; `support`: cut target on it.
    """

    def __init__(self, source: Map, support: Map, trained: Map, held_out: Map) -> None:
        self._source = source
        kept = (support.data > 0).astype(np.float32)
        width = 3 * source.voxel_size
        mask = mask_from_map(to_cube(kept), source.voxel_size, 0.5, width, width)
        self._mask = mask[tuple(slice(0, n) for n in kept.shape)]
        first, second = (resample_like(m, source).data * self._mask for m in (trained, held_out))
        agreed = crossing(shell_curve(first, second), 0.143)
        shells = max(to_cube(kept).shape) // 2
        self._end = shells if agreed is None else max(3, int(agreed))
        self._held_out = second

    def __call__(self, flow: Flow) -> float:
        curve = self.curve(flow)
        return float(np.mean(curve[1 : self._end]))

    def curve(self, flow: Flow) -> Float[np.ndarray, " shells"]:
        """Correlate the flow's last frame with the held-out half map."""
        frame = push_frames(flow, self._source, [1.0])[0] * self._mask
        return shell_curve(frame, self._held_out)
