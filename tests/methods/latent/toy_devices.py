"""Fit a small set on one and on eight simulated devices; keep what came out.

Usage: `NPROC=16 python toy_devices.py PARTICLES OUTDIR KIND…`; in one process, so that what is
compiled for one kind of fit is there for the next.
"""

import sys

import jax
import numpy as np

from vitreous.cli.common import start_jax
from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.fit import train
from vitreous.training.fit import FitOptions
from vitreous.training.inputs import DataOptions


def main() -> None:
    particles, outdir, *kinds = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", 8)
    # Devices that wait for each other need a thread each: one program at a time (docs/scale.md).
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    start_jax()
    for kind in kinds:
        config = LatentConfig(
            kind=kind,
            zdim=2,
            encoder_width=32,
            decoder_width=32,
            decoder_layers=1,
            encoder_layers=1,
            epochs=1,
            refine_poses=True,
            pretrain_pose=0,
        )
        for devices in (1, 8):
            folder = f"{outdir}/{kind}_{devices}"
            options = FitOptions(quiet=True)
            data = DataOptions(devices=devices)
            run = train(particles, folder, config, data, options)
            np.save(f"{folder}/volume.npy", run.decode(np.zeros((1, 2), np.float32)))


if __name__ == "__main__":
    main()
