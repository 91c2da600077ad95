"""What a fit says before it starts, and what it does when memory runs out after all."""

import io

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console
from toy import ToySource, toy_table

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles.loader import PreparedImages
from vitreous.particles.memory import with_less
from vitreous.training.inputs import DataOptions, prepared_images
from vitreous.training.planning import amount, plan_fit
from vitreous.training.run import Run
from vitreous.training.steps import Stepper

FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes")


def test_the_plan_counts_what_is_held(tmp_path):
    data = PreparedImages.build(toy_table(40), ToySource(40), resident=False)
    shapes = {"weights": jax.ShapeDtypeStruct((1000, 3), jnp.float32)}
    course = {"batch": 8, "steps": 5, "block": 5, "threads": 2, "ahead": 4}
    plan = plan_fit(data, shapes, None, tmp_path, **course, group=4, epochs=3, keep=None)
    sizes = {held.what: held.size for held in plan.held}
    assert sizes["images, streamed"] == 40 * 16 * 16 * 4
    # Two readers and two windows more, of four steps each.
    assert sizes["windows of 32 images"] == 4 * 32 * 16 * 16 * 4
    assert sizes["batches at work"] == 3 * 5 * 8 * 16 * 16 * 4
    assert sizes["weights, optimiser"] == 12_000
    assert next(size for what, size in sizes.items() if "checkpoints" in what) == 4 * 12_000
    out = io.StringIO()
    plan.show(Console(file=out, width=120))
    assert "images, streamed" in out.getvalue()
    assert "40 images, 5 steps of 8 an epoch" in out.getvalue()
    assert [amount(n) for n in (1, 5 << 20, 300 << 30)] == ["1 KiB", "5.0 MiB", "300 GiB"]


def test_chunks_are_halved_until_they_fit():
    tried = []

    def work(size: int) -> int:
        tried.append(size)
        if size > 6:
            raise FULL
        return size

    assert with_less(work, 40, 2, "work") == 4
    assert tried == [40, 20, 10, 4]
    with pytest.raises(InputError, match="too little memory even for chunks of 8"):
        with_less(work, 16, 8, "work")


def test_a_fit_that_runs_out_of_memory_goes_on_with_streamed_images(
    run_toy, assert_same, monkeypatch, tmp_path
):
    whole = run_toy("whole", epochs=2)
    epoch, failures = Stepper.epoch, []

    def failing(self, plan, position, step):
        # In the second epoch, as long as the images lie on the device.
        if step >= 6 and self._data.resident:
            failures.append(step)
            raise FULL
        return epoch(self, plan, position, step)

    monkeypatch.setattr(Stepper, "epoch", failing)
    assert_same(whole, run_toy("tight", epochs=2))
    assert len(failures) == 1
    assert "streamed from disk from now on" in (tmp_path / "tight" / "run.log").read_text()
    steps = [entry["step"] for entry in Run.open(tmp_path / "tight").metrics()]
    assert steps == [entry["step"] for entry in Run.open(tmp_path / "whole").metrics()]


def test_too_little_memory_even_then_is_one_line(run_toy, monkeypatch):
    def failing(self, plan, position, step):
        raise FULL

    monkeypatch.setattr(Stepper, "epoch", failing)
    with pytest.raises(InputError, match="lower --batch-size"):
        run_toy("run", epochs=1)


def test_another_fault_is_not_taken_for_it():
    def work(size: int) -> int:
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault of ours")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        with_less(work, 8, 1, "work")


def test_no_devices_are_refused():
    table, source, pixels = toy_table(4), ToySource(4), FourierPixels(16, 7)
    with pytest.raises(InputError, match="0 devices asked for, 1 visible"):
        prepared_images(table, source, DataOptions(devices=0), pixels, "white")
