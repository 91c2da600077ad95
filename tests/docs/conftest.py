"""A small particle set for the examples of the pages."""

from pathlib import Path

import pytest

from vitreous.simulation import HingeMotion, ParticleOptions, hinge_phantom, simulate_particles


@pytest.fixture(scope="session")
def particle_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `particles.star`: 96 images of the hinge in a box of 24 pixels."""
    folder = tmp_path_factory.mktemp("particles")
    specimen = HingeMotion(hinge_phantom(), box=24, pixel_size=8.0)
    simulate_particles(specimen, folder, ParticleOptions(count=96, snr=1.0, max_shift=8.0))
    (folder / "rows.txt").write_text("\n".join(map(str, range(0, 96, 3))) + "\n")
    return folder
