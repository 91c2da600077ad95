"""Short ways to a prepared toy set and a finished toy fit."""

import jax
import numpy as np
import pytest
from toy import ToyMethod, ToySource, toy_table

from vitreous.particles.loader import PreparedImages
from vitreous.training.fit import FitOptions, fit
from vitreous.training.run import Run


@pytest.fixture
def run_toy(tmp_path):
    """Return a function that fits the toy set in a folder and gives the final arrays."""

    def run_toy(
        name="run", count=45, source=None, method=None, data=None, callback=None, **options
    ):
        if data is None:
            source = source or ToySource(count)
            data = PreparedImages.build(toy_table(count), source, resident=True)
        method = method or ToyMethod(count, len(data.pixels))
        folder = tmp_path / name
        if (folder / "config.yaml").exists():
            run = Run.open(folder)
        else:
            run = Run.create(folder, {"method": "toy", "images": count})
        options = {"epochs": 2, "batch_size": 8, "log_every": 4, "quiet": True} | options
        state = fit(method, data, run, FitOptions(**options), callback)
        return jax.tree.map(np.asarray, state._replace(activation=None))

    return run_toy


@pytest.fixture
def assert_same():
    """Return a function that asserts two pytrees of arrays to be equal bit for bit."""

    def assert_same(first, second):
        jax.tree.map(np.testing.assert_array_equal, first, second)

    return assert_same
