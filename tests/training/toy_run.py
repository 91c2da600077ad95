"""Fit the toy set slowly, in a process of its own, to be stopped: `toy_run.py FOLDER`.

It takes its time at every log interval of the second epoch and says `running` there.
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np
from toy import ToyMethod, ToySource, toy_table

from vitreous.cli.common import start_jax
from vitreous.errors import Interrupted
from vitreous.particles.loader import PreparedImages
from vitreous.training.fit import FitOptions, fit
from vitreous.training.metrics_log import MetricsLog
from vitreous.training.run import Run

COUNT = 200


def fit_toy(folder: Path) -> list[np.ndarray]:
    """Start the toy fit in a folder, or go on with it; the leaves of the last state."""
    resident = "streamed" not in folder.name
    data = PreparedImages.build(toy_table(COUNT), ToySource(COUNT), resident=resident)
    if (folder / "config.yaml").exists():
        run = Run.open(folder)
    else:
        run = Run.create(folder, {"method": "toy", "images": COUNT})
    options = FitOptions(
        epochs=3, batch_size=8, log_every=5, quiet=True, resume_command="vitreous toy --resume"
    )
    state = fit(ToyMethod(COUNT, len(data.pixels)), data, run, options)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state._replace(activation=None))]


def slow_record(self, epoch, step, images, means):
    record(self, epoch, step, images, means)
    if epoch == 2:
        print("running", flush=True)
        time.sleep(0.2)


if __name__ == "__main__":
    start_jax()
    record, MetricsLog.record = MetricsLog.record, slow_record
    try:
        fit_toy(Path(sys.argv[1]))
    except Interrupted as notice:
        print(notice)
