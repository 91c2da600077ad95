"""One small simulated set of a hinging molecule, shared by the fits."""

from pathlib import Path

import pytest

from vitreous.simulation.particles import ParticleOptions, simulate_particles
from vitreous.simulation.phantom import hinge_phantom
from vitreous.simulation.specimen import HingeMotion


@pytest.fixture(scope="session")
def hinge_set(tmp_path_factory) -> Path:
    """320 images of 32², SNR 1, hinge angles between 0° and 60°."""
    folder = tmp_path_factory.mktemp("hinge")
    specimen = HingeMotion(hinge_phantom(), box=32, pixel_size=6.4, states=4)
    simulate_particles(specimen, folder, ParticleOptions(count=320, snr=1.0, max_shift=8.0))
    return folder
