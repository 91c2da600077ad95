"""The loop: the same result however it is run, and a clear end when it cannot go on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToyMethod, ToySource, toy_table

from vitreous.errors import InputError
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import EpochPlan
from vitreous.training.run import Run
from vitreous.training.steps import Stepper, block_length


def streamed(count=45, **options):
    return PreparedImages.build(toy_table(count), ToySource(count), resident=False, **options)


def test_loss_falls(run_toy):
    state = run_toy(epochs=30, checkpoint_every=30, method=ToyMethod(45, 95, rate=0.05))
    before = run_toy("short", epochs=1)
    assert np.abs(state.table).mean() > 2 * np.abs(before.table).mean()


def test_resident_and_streamed_agree(run_toy):
    resident, disk = run_toy("a"), run_toy("b", data=streamed())
    # Images transformed beforehand against in the step: float32 sums in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), resident, disk)


def test_shuffling_in_runs_is_the_same_in_both_ways(run_toy):
    runs = {"shuffle_chunk": 4, "shuffle_buffer": 20}
    resident, disk = run_toy("a", **runs), run_toy("b", data=streamed(), **runs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), resident, disk)
    plain = run_toy("c")
    assert not np.allclose(plain.table, resident.table, atol=1e-6), "another order"


def test_block_length_does_not_change_the_result(run_toy, assert_same):
    # 6 steps an epoch: 4 needs masked steps, 3 divides, 1 is single steps.
    assert block_length(6, 4) == 3
    assert block_length(7, 4) == 4, "no divisor near: the last block is masked"
    results = [run_toy(f"{log}", count=53, log_every=log) for log in (1, 4, 100)]
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), results[0], other)
    assert_same(results[1], run_toy("again", count=53, log_every=4))


@pytest.mark.parametrize("bytes_a_call", [1, 2 * 4 * 8 * 16**2, 1 << 30])
def test_calls_on_streamed_images_do_not_change_the_result(run_toy, monkeypatch, bytes_a_call):
    # 7 steps an epoch in blocks of 4: the last call of the epoch is masked, unless it is one step.
    held = run_toy("a", count=53, log_every=4)
    monkeypatch.setattr("vitreous.training.steps._CALL_BYTES", bytes_a_call)
    disk = run_toy("b", data=streamed(53), count=53, log_every=4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), held, disk)


def test_short_storage_gives_a_close_fit(run_toy):
    exact, short = run_toy("a", data=streamed()), run_toy("b", data=streamed(storage="float16"))
    # Adam's normalised steps of 1e-2 can flip where a gradient is rounded to the other sign.
    assert np.abs(exact.weights - short.weights).mean() < 1e-3 * np.abs(exact.weights).mean()


def test_going_on_with_more_epochs_equals_one_run(run_toy, assert_same):
    class Constant(ToyMethod):
        """Ignores progress, so that the number of epochs asked for plays no part."""

    whole = run_toy("whole", epochs=4, method=Constant(45, 95))
    run_toy("parts", epochs=2, method=Constant(45, 95))
    assert_same(whole, run_toy("parts", epochs=4, method=Constant(45, 95)))


def test_state_is_donated_and_data_is_kept():
    data = PreparedImages.build(toy_table(32), ToySource(32), resident=True)
    method = ToyMethod(32, len(data.pixels))
    stepper = Stepper(method, data, key=jax.random.key(0), total_steps=8, block=4)
    plan_rows = np.arange(32, dtype=np.int32).reshape(4, 8)
    epoch = stepper.epoch(EpochPlan(plan_rows, np.ones((4, 8), np.float32)), 0, 0)
    before = stepper.init()
    after, count, fetch = epoch.advance(before)
    assert count == 4
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before)), "memory of both states held"
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((after, data.arrays)))
    assert fetch()["loss"].shape == (4,)
    again = stepper.epoch(EpochPlan(plan_rows, np.ones((4, 8), np.float32)), 0, 4)
    again.advance(stepper.arrays(stepper.seen_by_all(after)))
    assert stepper._run_block._cache_size() == 1, "the same steps were compiled twice"


def test_one_compile_however_many_epochs(run_toy):
    class Counting(ToyMethod):
        traces = 0

        def step(self, *arguments):
            self.traces += 1
            return super().step(*arguments)

    method = Counting(53, 95)
    run_toy("one", count=53, epochs=1, method=method)
    once, method.traces = method.traces, 0
    run_toy("five", count=53, epochs=5, method=method)
    assert method.traces == once


def test_nan_guard_names_the_batch_and_keeps_the_last_checkpoint(run_toy, tmp_path):
    class Breaking(ToyMethod):
        def step(self, state, batch, key, progress):
            state, metrics = super().step(state, batch, key, progress)
            # Epoch 2 of 3 begins at 1/3.
            bad = (batch.index == 17).any() & (progress > 0.3)
            return state, metrics | {"loss": jnp.where(bad, jnp.nan, metrics["loss"])}

    with pytest.raises(InputError, match=r"loss is nan at epoch 2, step \d of 6") as caught:
        run_toy(method=Breaking(45, 95), epochs=3)
    message = str(caught.value)
    assert "18@toy.mrcs (index 117)" in message
    assert "last good checkpoint is epoch 1" in message
    assert "\n" not in message
    assert Run.open(tmp_path / "run").epochs() == [1]


def test_a_nan_weight_is_not_saved(run_toy, tmp_path):
    class Breaking(ToyMethod):
        def end_of_epoch(self, state, epoch):
            return state._replace(table=state.table.at[3].set(jnp.nan)) if epoch == 2 else state

    with pytest.raises(InputError, match="a weight is NaN after epoch 2"):
        run_toy(method=Breaking(45, 95), epochs=3)
    assert Run.open(tmp_path / "run").epochs() == [1]


def test_records(run_toy, tmp_path):
    seen = []
    run_toy(epochs=3, checkpoint_every=2, callback=lambda state, epoch: seen.append(epoch))
    run = Run.open(tmp_path / "run")
    assert seen == run.epochs() == [2, 3], "every second epoch, and the last"
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    means = [line for line in lines if "epoch_mean" in line]
    assert [line["epoch"] for line in means] == [1, 2, 3]
    first = [line for line in lines if line["epoch"] == 1 and "epoch_mean" not in line]
    assert sum(line["images"] for line in first) == 45
    expected = sum(line["loss"] * line["images"] for line in first) / 45
    assert means[0]["loss"] == pytest.approx(expected)
    assert (run.path / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert "epoch 3/3" in (run.path / "run.log").read_text()
    assert list((run.path / "tensorboard").glob("events*"))


def test_keep_policy(run_toy, tmp_path):
    run_toy(epochs=5, keep=2)
    assert Run.open(tmp_path / "run").epochs() == [4, 5]


def test_another_stream_or_model_is_refused(run_toy):
    run_toy()
    with pytest.raises(InputError, match="45 images, now there are 53"):
        run_toy(count=53, epochs=4)
    with pytest.raises(InputError, match="shape"):
        run_toy(method=ToyMethod(45, 95, dimensions=5), epochs=4)


def test_unusable_options_are_refused(run_toy):
    with pytest.raises(InputError, match="epochs must be at least 1"):
        run_toy(epochs=0)
