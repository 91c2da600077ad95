"""The images behind a run, prepared as the run prepared them."""

from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles import ImageSource
from vitreous.particles.loader import PreparedImages
from vitreous.particles.prepare import Normalization
from vitreous.particles.table import ParticleTable
from vitreous.particles.tilts import weigh_tilts
from vitreous.training.run import Run


def prepare_run_images(
    run: Run, table: ParticleTable, resident: bool | None = None
) -> PreparedImages:
    """Prepare images of a run's table, all of them or some.

    **Arguments:** `resident`: whether they stay on the device; by what fits if None.

    **Raises:** `InputError` if a stack is gone.
    """
    own = run.config.get(run.method, {})
    table = weigh_tilts(table, own.get("dose_per_tilt"), own.get("angle_per_tilt", 3.0))
    return PreparedImages.build(
        table,
        ImageSource(table),
        pixels=FourierPixels(run.box, (run.box - 1) // 2),
        window_radius=run.config.get("data", {}).get("window_radius", 0.85),
        invert=run.config.get("contrast") == "dark",
        normalization=Normalization(*run.config["normalization"]),
        resident=resident,
    )


def image_scale(run: Run) -> float:
    """Return the factor from prepared pixels to the units of the images."""
    return float(run.config["normalization"][1]) * run.box
