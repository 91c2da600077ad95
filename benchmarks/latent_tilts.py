"""What one latent a particle is worth in tilt series: state accuracy, against one an image.

Simulates 300 particles in two states, nine tilts each (`tests/methods/latent/two_states.py`), at
several levels of noise, and trains the VAE by particle and by image with the same settings. The
state is predicted by the 15 nearest neighbours in latent space; chance is 0.5. "mean" averages
the latents of a particle's images afterwards.

    python benchmarks/latent_tilts.py [--noise 2 3 4 6] [--epochs 4] [--json latent_tilts.json]
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from record import machine, print_table, write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods" / "latent"))
from two_states import TiltSet, write_tilt_series

from vitreous.cli.common import start_jax


def score(tilts: TiltSet, folder: Path, config, by_particle: bool) -> dict[str, float]:
    """Train once and score the latents."""
    from vitreous.methods.latent.fit import train
    from vitreous.metrics.neighbours import state_accuracy
    from vitreous.training.fit import FitOptions

    started = time.perf_counter()
    options = FitOptions(quiet=True, checkpoint_every=config.epochs)
    config = replace(config, by_particle=by_particle)
    z = train(tilts.star, folder, config, options=options).latents().mean
    seconds = round(time.perf_counter() - started, 1)
    if by_particle:
        return {"particle": state_accuracy(z, tilts.state), "s": seconds}
    owner = tilts.table.particle
    mean = np.stack([z[owner == p].mean(axis=0) for p in range(len(tilts.state))])
    images = state_accuracy(z, tilts.state[owner])
    return {"image": images, "mean": state_accuracy(mean, tilts.state), "s, by image": seconds}


def main() -> None:
    """Run all levels of noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, nargs="+", default=[2, 3, 4, 6])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    start_jax()
    from vitreous.methods.latent.config import LatentConfig

    config = LatentConfig(
        zdim=2,
        encoder_width=64,
        decoder_width=64,
        decoder_layers=2,
        encoder_layers=1,
        epochs=arguments.epochs,
        batch_size=36,
    )
    rows = []
    for noise in arguments.noise:
        with tempfile.TemporaryDirectory() as folder:
            tilts = write_tilt_series(Path(folder) / "tilts", noise=noise)
            row: dict[str, float] = {"noise": noise}
            for by_particle in (True, False):
                row |= score(tilts, Path(folder) / str(by_particle), config, by_particle)
        rows.append({name: round(value, 3) for name, value in row.items()})
    print_table(rows, list(rows[0]))
    content = {"machine": machine(), "config": asdict(config), "rows": rows}
    write_json(arguments.json, "latent_tilts", content)


if __name__ == "__main__":
    main()
