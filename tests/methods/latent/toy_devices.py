"""Fit a small set on as many devices as XLA is told to simulate; print what came out.

Usage: `python toy_devices.py PARTICLES OUTDIR KIND`.
"""

import sys

import numpy as np

from vitreous.methods.latent.config import LatentConfig
from vitreous.methods.latent.fit import train
from vitreous.training.fit import FitOptions


def main() -> None:
    particles, outdir, kind = sys.argv[1:]
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
    run = train(particles, outdir, config, options=FitOptions(quiet=True))
    np.save(f"{outdir}/volume.npy", run.decode(np.zeros((1, 2), np.float32)))


if __name__ == "__main__":
    main()
