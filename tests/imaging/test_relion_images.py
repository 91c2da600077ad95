"""A RELION file read and imaged, against RELION's own formulas written in NumPy."""

import jax.numpy as jnp
import numpy as np
from microscope import molecule

from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.image_model import ImageModel
from vitreous.imaging.optics.lens import Optics
from vitreous.imaging.pose import Pose
from vitreous.particles import read_particles

STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
_rlnImageDimensionality #7
1 200.0 1.4 0.07 2.5 24 2

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnPhaseShift #6
_rlnAngleRot #7
_rlnAngleTilt #8
_rlnAnglePsi #9
_rlnOriginXAngst #10
_rlnOriginYAngst #11
1@none.mrcs 1 15000 10000 30 0 30 40 50 3.0 -5.0
2@none.mrcs 1 9000 14000 -70 45 200 110 310 -2.5 0.0
"""


def relion_image(volume, row: list[float], box: int, pixel: float) -> np.ndarray:
    """One image: A(rot, tilt, psi) by its entries, origins subtracted, CTF with θ from x."""
    u, v, angle, phase, rot, tilt, psi, x0, y0 = row
    ca, cb, cg = (np.cos(np.deg2rad(a)) for a in (rot, tilt, psi))
    sa, sb, sg = (np.sin(np.deg2rad(a)) for a in (rot, tilt, psi))
    matrix = np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )
    k = np.stack(np.meshgrid(np.fft.rfftfreq(box, pixel), np.fft.fftfreq(box, pixel)), axis=-1)
    square, theta = np.sum(k**2, axis=-1), np.arctan2(k[..., 1], k[..., 0])
    wavelength, gamma = 0.0250793, 1.391390
    place = np.asarray(volume.position, float) @ matrix.T
    half = 0
    for (x, y, _), a, s in zip(place, volume.amplitude[:, 0], volume.variance[:, 0], strict=True):
        wave = np.exp(-2j * np.pi * (k[..., 0] * (x - x0) + k[..., 1] * (y - y0)))
        half = half + float(a) * np.exp(-2 * np.pi**2 * float(s) * square) * wave
    # RELION: γ = K1 k² + K2 k⁴ − K5 − K3 with defoci negative; CTF = −sin γ.
    defocus = -0.5 * (u + v) - 0.5 * (u - v) * np.cos(2 * (theta - np.deg2rad(angle)))
    chi = np.pi * wavelength * defocus * square + 0.5 * np.pi * 1.4e7 * wavelength**3 * square**2
    chi = chi - np.deg2rad(phase) - np.arctan(0.07 / np.sqrt(1 - 0.07**2))
    half = half * -np.sin(chi) * wavelength * gamma / pixel**2
    inner = np.all(2 * np.abs(np.rint(k * box * pixel)) < box, axis=-1)
    return np.where(inner, half, 0)


def test_a_relion_file_is_imaged_as_relion_would(tmp_path):
    (tmp_path / "particles.star").write_text(STAR)
    table = read_particles(tmp_path / "particles.star")
    box, pixel = int(table.box[0]), float(table.pixel_size[0])
    pose = Pose(jnp.asarray(table.rotation), jnp.asarray(table.shift))
    optics = Optics.from_parameters(table.ctf)
    images = ImageModel(molecule(), pose, ImageGrid(box, pixel), optics).render()
    rows = [[float(x) for x in line.split()[2:]] for line in STAR.strip().splitlines()[-2:]]
    expected = np.stack([relion_image(molecule(), row, box, pixel) for row in rows])
    found = np.fft.rfft2(np.fft.ifftshift(images, (1, 2)))
    found = np.where(expected != 0, found, 0)
    # The constants above have six digits, and χ reaches 60 rad.
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()
