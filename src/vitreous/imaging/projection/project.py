"""One function from any volume to its projections."""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from vitreous.geometry.fourier import half_plane, image_from_half_plane
from vitreous.geometry.shift import crop_centered
from vitreous.imaging.fourier_grid import padded_box
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.volumes.base import Volume


def project(
    volume: Volume,
    rotation: Float[Array, "b 3 3"],
    grid: ImageGrid,
    method: str = "auto",
    padding: float = 1.0,
) -> Complex[Array, "b n h"]:
    """Integrate a volume along the beam, for a batch of rotations.

    **Arguments:** `volume`: any of `imaging.volumes`, of any voxel size. `rotation`: volume to
    image; a matrix that stretches too (`Optics.distorted`) moves Gaussians, and stretches them by
    `"slice"` only. `grid`: the pixels wanted. `method`: a name in `volume.methods`, or `"auto"` for
    what suits the volume and the grid. `padding`: images are made this much wider, then cut down:
    the molecule may then be wider than the box.

    **Returns:** half planes (see `imaging.grid`) of the images of `∫ U dz` in Å⁻¹, band-limited to
    the grid: un-normalised transforms, centred phases. Differentiable in everything.

    **Raises:** `ValueError` for a method the volume does not have. Logs a warning if the grid is
    finer than the volume or the volume does not fit, where this is known when code is compiled.

    ```python
    import jax
    from vitreous.imaging import AtomVolume, ImageGrid, Pose, project

    volume = AtomVolume.from_structure("1abc.pdb")
    poses = Pose.random(jax.random.key(0), 16)
    half = project(volume, poses.rotation, ImageGrid(128, 1.5))
    ```
    """
    if method != "auto" and method not in volume.methods:
        raise ValueError(
            f"{type(volume).__name__} projects by {', '.join(map(repr, volume.methods))} or "
            f"'auto', not by {method!r}"
        )
    wide = grid.resized(padded_box(grid.box, padding))
    volume.check(wide)
    if method == "auto":
        method = volume.best_method(wide)
    half = self_conjugate(volume.project(rotation, wide, method), wide.box)
    if wide.box == grid.box:
        return half
    images = crop_centered(image_from_half_plane(half, wide.box), grid.box, 2)
    return half_plane(images)


def self_conjugate(half: Complex[Array, "b n h"], box: int) -> Complex[Array, "b n h"]:
    """Make the Nyquist column of an even box its own Friedel mate, as in a real image.

    There one wave stands for two; it gets their mean, so that a half plane and the image made of
    it have the same power.
    """
    if box % 2:
        return half
    column = half[:, :, -1]
    mate = jnp.roll(column[:, ::-1], 1, axis=1).conj()
    return half.at[:, :, -1].set(0.5 * (column + mate))
