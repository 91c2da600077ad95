"""A tilt series of a molecule in two states, simulated with NumPy alone."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitreous.geometry.rotations import euler_to_matrix
from vitreous.imaging.ctf import CTFParameters
from vitreous.particles import ParticleTable, write_stack

PIXEL_SIZE = 6.0
WIDTH = 8.0
DOSE = 3.0


class TiltSet(NamedTuple):
    """Where the set lies, and the state of each particle."""

    star: Path
    state: np.ndarray
    table: ParticleTable


def blobs(state):
    """Centres (Å) of the molecule's blobs: a body, and an arm that swings by 60°."""
    generator = np.random.default_rng(11)
    body = generator.normal(0, 14, (8, 3))
    arm = np.array([[18.0 + 9 * k, 0, 0] for k in range(4)])
    c, s = np.cos(np.deg2rad(60 * state)), np.sin(np.deg2rad(60 * state))
    return np.concatenate([body, arm @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])])


def signal(box, rotation, shift, state, defocus, dose):
    """One noiseless image: blobs projected, CTF and dose applied; CTF as in the conventions."""
    axis = (np.arange(box) - box // 2) * PIXEL_SIZE
    x, y = (rotation @ blobs(state).T)[:2] + shift[:, None]
    image = np.exp(-((axis[:, None] - x) ** 2) / (2 * WIDTH**2)) @ np.diag(np.ones(len(x)))
    image = np.exp(-((axis[:, None] - y) ** 2) / (2 * WIDTH**2)) @ image.T
    k = np.fft.fftfreq(box, PIXEL_SIZE)
    square = k**2 + k[:, None] ** 2
    wavelength = 0.0196875
    chi = np.pi * wavelength * defocus * square - np.pi / 2 * 2.7e7 * wavelength**3 * square**2
    ctf = np.sqrt(1 - 0.1**2) * np.sin(chi) + 0.1 * np.cos(chi)
    critical = 0.245 * np.maximum(square, 1e-9) ** (-1.665 / 2) + 2.81
    return np.fft.ifft2(np.fft.fft2(image) * ctf * np.exp(-dose / (2 * critical))).real


def write_tilt_series(folder, particles=300, tilts=9, box=24, noise=1.0, seed=0) -> TiltSet:
    """Write `tilts.mrcs` and `tilts.star`; noise in units of the signal's standard deviation.

    Tilts run from −48° to 48° in the order of their angle; exposure begins in the middle. Every
    tenth particle lacks one tilt.
    """
    generator = np.random.default_rng(seed)
    state = np.arange(particles) % 2
    angle = np.linspace(-48, 48, tilts)
    order = np.argsort(np.argsort(np.abs(angle + 0.1)))
    orientation = euler_to_matrix(generator.uniform(-180, 180, (particles, 3)))
    centre = generator.normal(0, 5, (particles, 3))
    rows = [
        (p, t) for p in range(particles) for t in range(tilts) if p % 10 or t != p // 10 % tilts
    ]
    particle, tilt = np.array(rows).T
    c, s = np.cos(np.deg2rad(angle[tilt])), np.sin(np.deg2rad(angle[tilt]))
    turn = np.zeros((len(rows), 3, 3))
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 1, 1], turn[:, 2, 0], turn[:, 2, 2] = c, s, 1, -s, c
    rotation = (turn @ orientation[particle]).astype(np.float32)
    shift = np.einsum("nij,nj->ni", turn[:, :2], centre[particle]).astype(np.float32)
    defocus = generator.uniform(15000, 30000, len(rows)).astype(np.float32)
    dose = (DOSE * order[tilt]).astype(np.float32)
    clean = np.stack(
        [
            signal(box, rotation[i], shift[i], state[p], defocus[i], dose[i])
            for i, p in enumerate(particle)
        ]
    )
    clean /= clean.std()
    images = clean + noise * generator.normal(size=clean.shape)
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / "tilts.mrcs", images.astype(np.float32), PIXEL_SIZE)
    n, one = len(rows), np.ones(len(rows), np.float32)
    table = ParticleTable(
        stacks=(str(folder / "tilts.mrcs"),),
        stack_id=np.zeros(n, np.int32),
        image_index=np.arange(n),
        box=np.full(n, box, np.int32),
        pixel_size=np.full(n, PIXEL_SIZE),
        rotation=rotation,
        shift=shift,
        # The scale is told to be the same for all, by numbers that differ in the last digit.
        ctf=CTFParameters(
            defocus,
            defocus,
            0 * one,
            300 * one,
            np.float32(2.7) * one,
            np.float32(0.1) * one,
            0 * one,
            0 * one,
            one - np.float32(2e-6) * tilt.astype(np.float32),
        ),
        optics_group=np.zeros(n, np.int32),
        particle=particle.astype(np.int64),
        dose=dose,
        row=np.arange(n),
    )
    table.to_star(folder / "tilts.star")
    return TiltSet(folder / "tilts.star", state, table)
