"""The images behind a run, prepared as the run prepared them."""

import jax
import numpy as np
from jax.sharding import Mesh

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles import ImageSource
from vitreous.particles.cache import check_same_set
from vitreous.particles.device_data import DATA_AXIS
from vitreous.particles.loader import PreparedImages, prepared_bytes
from vitreous.particles.memory import fits_devices
from vitreous.particles.prepare import Normalization
from vitreous.particles.processes import own_share, together
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import weigh_tilts
from vitreous.training.run import Run


def prepare_run_images(
    run: Run, table: ParticleTable, resident: bool | None = None
) -> PreparedImages:
    """Prepare images of a run's table, all of them or some, for this process alone.

    **Arguments:** `resident`: whether they stay on the device; by what fits if None.

    **Raises:** `InputError` if a stack is gone.
    """
    if resident is None:
        need = prepared_bytes(len(table), _pixels(run), "float32")
        resident = fits_devices(need, jax.local_devices()[:1], alone=True)
    # Of several processes the first device of all is not here.
    mesh = None if jax.process_count() == 1 else _mesh(jax.local_devices()[0])
    return _prepare(run, _weighed(run, table), resident, mesh)


def share_run_images(
    run: Run, table: ParticleTable, resident: bool | None = None
) -> list[PreparedImages]:
    """Prepare the images that this process works on, neighbours together on each of its devices.

    **Arguments:** as of `prepare_run_images`.

    **Returns:** parts in the order of the table: those of `own_share`.

    **Raises:** `InputError` if a stack is gone, or there are fewer images than devices.
    """
    devices = jax.local_devices()
    if len(jax.devices()) == 1:
        return [prepare_run_images(run, table, resident)]
    if len(table) < len(jax.devices()):
        raise InputError(f"{table.path}: {len(table)} images for {len(jax.devices())} devices")
    check_same_set(table)
    table, own = _weighed(run, table), np.arange(len(table))[own_share(len(table))]
    parts = np.array_split(own, len(devices))
    if resident is None:
        need = prepared_bytes(len(table), _pixels(run), "float32")
        resident = fits_devices(need, jax.devices())
    return together(
        lambda: [
            _prepare(run, table.select(rows), resident, _mesh(device))
            for rows, device in zip(parts, devices, strict=True)
        ]
    )


def _weighed(run: Run, table: ParticleTable) -> ParticleTable:
    own = run.config.get(run.method, {})
    return weigh_tilts(table, own.get("dose_per_tilt"), own.get("angle_per_tilt", 3.0))


def _prepare(
    run: Run, table: ParticleTable, resident: bool | None, mesh: Mesh | None
) -> PreparedImages:
    return PreparedImages.build(
        table,
        ImageSource(table),
        pixels=_pixels(run),
        window_radius=run.config.get("data", {}).get("window_radius", 0.85),
        invert=run.config.get("contrast") == "dark",
        normalization=Normalization(*run.config["normalization"]),
        resident=resident,
        mesh=mesh,
    )


def _mesh(device: jax.Device) -> Mesh:
    return Mesh(np.array([device]), (DATA_AXIS,))


def _pixels(run: Run) -> FourierPixels:
    return FourierPixels(run.box, (run.box - 1) // 2)


def image_scale(run: Run) -> float:
    """Return the factor from prepared pixels to the units of the images."""
    return float(run.config["normalization"][1]) * run.box
