"""Fit the toy set on one device and on eight; print the largest differences as JSON.

Started with `XLA_FLAGS=--xla_force_host_platform_device_count=8` and `NPROC=16`: devices that wait
for each other each need a thread, and on few cores XLA makes no more than there are devices. With
one program at a time nothing else takes one.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from toy import ToyMethod, ToySource, toy_table

from vitreous.cli.common import start_jax
from vitreous.particles.loader import PreparedImages
from vitreous.training.evaluate import map_images
from vitreous.training.fit import FitOptions, fit
from vitreous.training.mesh import data_mesh
from vitreous.training.run import Run


def fit_toy(folder: Path, count: int, devices: int, resident: bool) -> dict:
    data = PreparedImages.build(
        toy_table(count), ToySource(count), resident=resident, mesh=data_mesh(devices)
    )
    run = Run.create(folder, {"method": "toy", "images": count})
    method = ToyMethod(count, len(data.pixels))
    options = FitOptions(epochs=2, batch_size=16, log_every=4, quiet=True)
    state = fit(method, data, run, options)
    index = map_images(lambda p, batch: batch.index, None, data, 16)
    assert np.array_equal(index, np.arange(count))
    return {
        "leaves": [np.asarray(leaf) for leaf in jax.tree.leaves(state._replace(activation=None))],
        "spread": len(state.table.sharding.device_set),
        "rows": state.table.addressable_shards[0].data.shape[0],
    }


def main(folder: Path) -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    start_jax()
    results = {}
    # 45 rows do not divide among 8 devices: the table is copied; 48 rows are spread.
    for count, resident in ((45, True), (48, False)):
        one = fit_toy(folder / f"one{count}", count, 1, True)
        eight = fit_toy(folder / f"eight{count}", count, 8, resident)
        results[str(count)] = {
            "spread": eight["spread"],
            "rows": eight["rows"],
            "difference": max(
                float(np.abs(a - b).max())
                for a, b in zip(one["leaves"], eight["leaves"], strict=True)
            ),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
