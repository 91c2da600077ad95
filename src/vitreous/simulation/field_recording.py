"""From what the lens makes of a field of view to the micrograph that a camera records."""

import numpy as np
from jaxtyping import Float, Float32

from vitreous.errors import InputError
from vitreous.simulation.counting import contrast_of_sum
from vitreous.simulation.field_of_view import Signal
from vitreous.simulation.field_truth import FieldTruth
from vitreous.simulation.micrograph_options import MicrographOptions


def record_field(
    signal: Signal,
    truth: FieldTruth,
    options: MicrographOptions,
    box: int,
    pixel_size: float,
    number: int,
) -> tuple[Float32[np.ndarray, "h w"], float]:
    """Record a field of view: electrons a pixel for a dose, else dark particles in white noise.

    **Returns:** the micrograph and the standard deviation of its noise (counting included).

    **Raises:** `InputError` if a pixel would lose more electrons than it gets.
    """
    rng = np.random.default_rng(np.random.SeedSequence([options.seed, number, 2]))
    clean = signal.molecules.astype(np.float64) + signal.ice
    if options.dose is None:
        deviation = 0.0
        if options.snr is not None:
            deviation = float(_particle_pixels(signal, truth, box).std() / np.sqrt(options.snr))
        noise = deviation * rng.standard_normal(clean.shape)
        return (noise - clean).astype(np.float32), deviation
    assert truth.ctf is not None
    voltage = np.asarray(truth.ctf.voltage, np.float64).reshape(1)
    scale = contrast_of_sum(voltage, pixel_size).item()
    if scale * clean.max() > 1:
        raise InputError(
            f"--dose: a pixel would lose {scale * clean.max():.3g} times the electrons it gets, a "
            "negative Poisson rate; the map's values are no potential in Å⁻², or too many "
            "particles overlap: give --snr in place of --dose"
        )
    electrons = options.dose * pixel_size**2
    rate = electrons * (1 - scale * clean)
    if options.counting == "poisson":
        counts = rng.poisson(rate)
    else:
        counts = rate + np.sqrt(rate) * rng.standard_normal(rate.shape)
    return counts.astype(np.float32), float(np.sqrt(electrons))


def _particle_pixels(signal: Signal, truth: FieldTruth, box: int) -> Float[np.ndarray, " p"]:
    """Return the pixels of the particles' boxes, as far as they lie in the field."""
    found = []
    for x, y in np.rint(truth.place).astype(np.int64) - box // 2:
        window = signal.molecules[max(y, 0) : y + box, max(x, 0) : x + box]
        found.append(window.ravel())
    return np.concatenate(found).astype(np.float64)
