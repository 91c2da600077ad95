"""MTF curves of RELION are read at their frequencies, and broken ones refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.imaging.detector import Detector
from vitreous.imaging.grid import ImageGrid
from vitreous.particles.mtf import read_mtf

HEADER = "data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n"


def test_curve(tmp_path):
    """Frequencies are of the camera's pixels of 0.8 Å; an image of 1.6 Å reaches half of them."""
    (tmp_path / "mtf.star").write_text(HEADER + "0.0 1.0\n0.25 0.8\n0.5 0.4\n")
    curve = read_mtf(tmp_path / "mtf.star", 0.8)
    k = np.array([0.0, 0.125, 0.25, 0.375, 0.5], np.float32) / np.float32(0.8)
    points = jnp.stack([jnp.asarray(k), jnp.zeros(5)], axis=-1)
    np.testing.assert_allclose(curve(points), [1, 0.9, 0.8, 0.6, 0.4], rtol=1e-5)
    grid = ImageGrid(8, 1.6)
    wave = 10 + jnp.cos(jnp.pi * jnp.arange(8.0)).reshape(1, 1, 8) * jnp.ones((1, 8, 1))
    counted = Detector("poisson", mtf=curve).rate(wave, grid)
    np.testing.assert_allclose(counted, 10 + 0.8 * (np.asarray(wave) - 10), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_\n\nloop_\n_rlnMtfValue #1\n1.0\n", "no columns"),
        (HEADER + "0.5 1.0\n0.0 0.4\n", "ascend"),
        (HEADER + "0.0 1.0\n0.25 -0.1\n", "row 2"),
        ("no star", "not a STAR"),
    ],
)
def test_broken_curves(tmp_path, text: str, message: str):
    (tmp_path / "mtf.star").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mtf(tmp_path / "mtf.star", 1.0)
