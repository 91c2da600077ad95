"""What one latent a particle is worth in tilt series: latents against the true conformation.

Simulates the hinge molecule at angles drawn evenly from 0° to 60°, each particle recorded in eleven
tilts (−50° to 50°, dose-symmetric, 3 e/Å² each: amplitudes decay with the dose and with the cosine
of the tilt), and fits it in several ways with the same settings. Given are, by particle, |Spearman|
of the angle and the first component of the latents, and the neighbour R² of the angle (15
neighbours). Where every image has a latent of its own, latents are also averaged by particle.

    python benchmarks/tilt_series.py [--particles 600] [--snr 0.1 0.03] [--epochs 10] [--box 32]
        [--fits "encode-mode tilt" subspace]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from record import machine, print_table, write_json

from vitreous.cli.common import start_jax

ANGLES = np.arange(-50, 51, 10)
DOSE = 3.0
EXTENT = 200.0  # Å


class TiltSet(NamedTuple):
    """Where a set lies; the angle (degrees) of each particle, and the particle of each image."""

    star: Path
    angle: np.ndarray
    particle: np.ndarray


def orientations(count: int, rng: np.random.Generator) -> np.ndarray:
    """Turn every particle, and turn the stage about y: one matrix an image."""
    from vitreous.geometry.rotations import euler_to_matrix, quaternion_to_matrix

    particle = quaternion_to_matrix(rng.normal(size=(count, 4)))
    zero = np.zeros(len(ANGLES))
    stage = euler_to_matrix(np.stack([zero, ANGLES, zero], axis=1))
    return np.einsum("tij,pjk->ptik", stage, particle).reshape(-1, 3, 3).astype(np.float32)


def simulate(folder: Path, particles: int, box: int, snr: float, seed: int = 0) -> TiltSet:
    """Write `tilts.mrcs` and `tilts.star` as programs that extract tilts do, and what is true."""
    import jax
    import jax.numpy as jnp

    from vitreous.geometry.fourier import image_from_half_plane
    from vitreous.geometry.fourier_pixels import FourierPixels
    from vitreous.imaging.ctf import CTFParameters, evaluate_ctf
    from vitreous.imaging.dose import dose_decay
    from vitreous.particles import ParticleTable, write_stack
    from vitreous.simulation import HingeMotion, hinge_phantom

    rng, tilts, size = np.random.default_rng(seed), len(ANGLES), EXTENT / box
    count = particles * tilts
    angle = rng.uniform(0, 60, particles).astype(np.float32)
    rotation = orientations(particles, rng)
    dose = np.tile(DOSE * np.argsort(np.argsort(np.abs(ANGLES + 0.1))), particles)
    one = np.ones(count, np.float32)
    defocus = np.repeat(rng.uniform(15000, 30000, particles), tilts).astype(np.float32)
    scale = np.tile(np.cos(np.deg2rad(ANGLES)), particles).astype(np.float32)
    voltage, cs, contrast, none = (np.float32(x) * one for x in (300, 2.7, 0.1, 0))
    ctf = CTFParameters(defocus, defocus, none, voltage, cs, contrast, none, none, scale)
    specimen = HingeMotion(hinge_phantom(), box=box, pixel_size=size, low=0.0, high=60.0)
    pixels = FourierPixels(box, (box - 1) // 2)

    @jax.jit
    def images(rotation, angle, ctf, dose):
        k = jnp.asarray(pixels.frequency) / (box * size)
        values = specimen.project(rotation, jnp.zeros(len(angle), jnp.int32), angle, pixels)
        k = jnp.broadcast_to(k, (len(angle), *k.shape))
        faded = evaluate_ctf(k, ctf) * dose_decay(k, dose, ctf.voltage)
        return image_from_half_plane(pixels.scatter(values * faded.astype(values.dtype)), box)

    parts = []
    for rows in np.array_split(np.arange(count), -(-count // 110)):
        some = CTFParameters(*(field[rows] for field in ctf))
        own = angle[rows // tilts], some, dose[rows].astype(np.float32)
        parts.append(np.asarray(images(rotation[rows], *own)))
    clean = np.concatenate(parts)
    noisy = clean / clean.std() + snr**-0.5 * rng.normal(size=clean.shape)
    folder.mkdir(parents=True)
    write_stack(folder / "tilts.mrcs", noisy.astype(np.float32), size)
    table = ParticleTable(
        stacks=(str(folder / "tilts.mrcs"),),
        stack_id=np.zeros(count, np.int32),
        image_index=np.arange(count),
        box=np.full(count, box, np.int32),
        pixel_size=np.full(count, size),
        rotation=rotation,
        shift=np.zeros((count, 2), np.float32),
        ctf=ctf,
        optics_group=np.zeros(count, np.int32),
        particle=np.repeat(np.arange(particles), tilts),
        dose=dose.astype(np.float32),
        half_set=np.repeat(rng.permutation(particles) % 2, tilts).astype(np.int8),
        row=np.arange(count),
    )
    table.to_star(folder / "tilts.star")
    assert table.particle is not None
    return TiltSet(folder / "tilts.star", angle, table.particle)


def scores(z: np.ndarray, angle: np.ndarray) -> dict[str, float]:
    """Score latents, one row an angle."""
    from vitreous.metrics.truth import Truth, score_latent

    found = score_latent(z, Truth(coordinate=angle))
    named = {"|Spearman|": "|Spearman|, first component", "R²": "neighbour R² (15 neighbours)"}
    return {short: round(found[name], 3) for short, name in named.items()}


def timed(name: str, fit: Callable[[], Any], tilts: TiltSet) -> list[dict[str, Any]]:
    """Fit once and score the latents; averaged by particle too where each image has its own."""
    started = time.perf_counter()
    z = fit().latents().mean
    seconds = {"s": round(time.perf_counter() - started)}
    if len(z) == len(tilts.angle):
        return [{"fit": name} | scores(z, tilts.angle) | seconds]
    mean = np.stack([z[tilts.particle == p].mean(axis=0) for p in range(len(tilts.angle))])
    return [
        {"fit": name} | scores(z, tilts.angle[tilts.particle]) | seconds,
        {"fit": f"{name}, averaged"} | scores(mean, tilts.angle),
    ]


def run(tilts: TiltSet, folder: Path, epochs: int, wanted: list[str]) -> list[dict[str, Any]]:
    """Fit a set in every way, or in those whose name has a wanted word."""
    from vitreous.methods.latent.config import LatentConfig
    from vitreous.methods.latent.fit import train
    from vitreous.methods.subspace.config import SubspaceConfig
    from vitreous.methods.subspace.fit import train_subspace
    from vitreous.training.fit import FitOptions

    pooled = LatentConfig(zdim=2, encoder_width=128, decoder_width=128, epochs=epochs)
    # A step sees at least four particles: as many images in every fit.
    pooled = replace(pooled, batch_size=4 * len(ANGLES))
    ways = {
        "vae (lift)": pooled,
        "vae, --encode-mode tilt": replace(pooled, encoder="tilt"),
        "vae, --encode-mode tilt-pixels": replace(pooled, encoder="tilt-pixels"),
        "vae, --encode-mode resid": replace(pooled, encoder="resid"),
        "vae, --ntilts 5": replace(pooled, tilts=5),
        "vae, --ntilts 5 --random-tilts": replace(pooled, tilts=5, random_tilts=True),
        "vae, --per-image": replace(pooled, by_particle=False),
        "autodecoder": replace(pooled, kind="autodecoder"),
    }
    options = FitOptions(quiet=True, checkpoint_every=epochs)
    fits: dict[str, Callable[[], Any]] = {
        name: partial(train, tilts.star, folder / str(number), config, options=options)
        for number, (name, config) in enumerate(ways.items())
    }
    two = SubspaceConfig(zdim=2, keep_all=True)
    fits["subspace"] = partial(train_subspace, tilts.star, folder / "two", two)
    rows = []
    for name, fit in fits.items():
        if not wanted or any(word in name for word in wanted):
            rows += timed(name, fit, tilts)
    return rows


def main() -> None:
    """Run all levels of noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.1, 0.03])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--fits", nargs="+", default=[], help="Words of names; all unless given.")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    start_jax()
    rows: list[dict[str, Any]] = []
    for snr in arguments.snr:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tilts = simulate(folder / "set", arguments.particles, arguments.box, snr)
            rows += [
                {"SNR": snr} | row for row in run(tilts, folder, arguments.epochs, arguments.fits)
            ]
        print_table(rows, list(rows[0]))
    given = {k: v for k, v in vars(arguments).items() if k != "json"}
    write_json(arguments.json, "tilt_series", {"machine": machine(), "given": given, "rows": rows})


if __name__ == "__main__":
    main()
