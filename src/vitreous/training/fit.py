"""The loop that every fit shares: epochs, checkpoints, resume, monitoring, guards."""

import logging
import signal
import time
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import PyTree
from rich.console import Console

from vitreous.errors import InputError, Interrupted
from vitreous.files import is_writer
from vitreous.particles.loader import PreparedImages
from vitreous.particles.memory import is_out_of_memory
from vitreous.particles.order import EpochPlan, Groups, epoch_plan, group_plan, shuffled_order
from vitreous.training.checkpoint import fill_leaves
from vitreous.training.distributed import Vote, wait_for_all
from vitreous.training.fit_options import FitOptions
from vitreous.training.guard import check_losses, check_weights
from vitreous.training.method import Method, State
from vitreous.training.metrics_log import MetricsLog
from vitreous.training.planning import plan_fit
from vitreous.training.position import Position
from vitreous.training.precision import matmul_precision
from vitreous.training.progress import FitProgress, duration, run_log
from vitreous.training.run import Run
from vitreous.training.signals import StopRequest, stop_on_signal
from vitreous.training.steps import Stepper, block_length

logger = logging.getLogger(__name__)

# What a process wishes between two blocks, beside the number of a signal, which is larger.
_NOTHING, _SAVE = -1, 0


def fit(
    method: Method,
    data: PreparedImages,
    run: Run,
    options: FitOptions | None = None,
    on_checkpoint: Callable[[State, int], None] | None = None,
) -> State:
    """Fit a method to prepared images; goes on from the run's last checkpoint if it has one.

    **Arguments:** `on_checkpoint(state, epoch)`: called before the checkpoint of a completed
    epoch is written, to save latents or volumes; it must not keep the state's arrays, which the
    next step overwrites. A checkpoint thus always has its latents.

    Of several processes each calls it with the same arguments; the first writes the run.

    **Returns:** the state after the last epoch. On one CPU the same bits for the same arguments,
    whether or not the run was interrupted on the way.

    **Raises:** `InputError` if the loss is not finite, the disk is full, or the checkpoint is of
    another stream or model; `Interrupted` after SIGTERM or SIGUSR1.
    """
    options = options or FitOptions()
    platform = data.devices[0].platform
    with (
        run_log(run.path),
        stop_on_signal() as stop,
        matmul_precision(options.precision, platform),
        run.checkpoints.settled(),
    ):
        return _fit_in_memory(method, data, run, options, on_checkpoint, stop)


def _fit_in_memory(method, data: PreparedImages, run, options, on_checkpoint, stop) -> State:
    """Fit; if the devices run out of memory, let go of the images there and go on without.

    **Raises:** `InputError` if even then it is too little.
    """
    while True:
        try:
            return _Fit(method, data, run, options, on_checkpoint).go(stop)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # Processes that try again must do so together, and only one may have failed.
            if not data.resident or jax.process_count() > 1:
                raise InputError(
                    f"the devices have too little memory for steps of {options.batch_size} "
                    "images: lower --batch-size, or stream the images (--lazy); --resume goes on"
                ) from error
        # The same batches in the same order: only the images come another way.
        logger.warning("out of memory: the images are streamed from disk from now on")
        data.release()


class _Fit:
    """The variables of one call of `fit`."""

    def __init__(self, method, data, run, options, on_checkpoint) -> None:
        self.method, self.data, self.run, self.options = method, data, run, options
        self.on_checkpoint = on_checkpoint
        groups = self._groups(0)
        if groups is None:
            self.visits, self.batch_visits = len(data), data.batch_size(options.batch_size)
            self.batch_size = self.batch_visits
        else:
            self.visits = len(groups)
            self.batch_visits = data.groups_per_batch(options.batch_size, groups)
            self.batch_size = self.batch_visits * groups.size
        self.steps = -(-self.visits // self.batch_visits)
        # A window of the shuffled order is read at once: it must be whole steps.
        self.group = 1
        if options.shuffle_chunk > 1:
            self.group = max(1, options.shuffle_buffer // self.batch_size)
        self.block = block_length(self.steps, options.log_every)
        self.stepper = Stepper(
            method,
            data,
            key=jax.random.key(options.seed),
            total_steps=self.steps * options.epochs,
            block=self.block,
            threads=options.threads,
            ahead=options.read_ahead,
            group=self.group,
        )
        self.vote = Vote(data.mesh)
        self.last_checkpoint = time.monotonic()
        self.pending: Callable[[], None] | None = None
        self.blocks_read = 0

    def _groups(self, epoch: int) -> Groups | None:
        return self.method.groups(epoch) if hasattr(self.method, "groups") else None

    def _plan(self, epoch: int) -> EpochPlan:
        """Lay out an epoch: every image once, or every group of images."""
        options, groups = self.options, self._groups(epoch)
        window = self.group * self.batch_visits
        order = shuffled_order(self.visits, options.seed, epoch, options.shuffle_chunk, window)
        if groups is None:
            return epoch_plan(order, self.batch_visits)
        return group_plan(order, groups, self.batch_visits)

    def go(self, stop) -> State:
        """Run all epochs that are left."""
        run, options = self.run, self.options
        if is_writer():
            run.checkpoints.remove_leftovers()
        arrays, done, position = self._start()
        console = Console(stderr=True) if is_writer() and not options.quiet else None
        step = done * self.steps + position
        self._show_plan(console)
        with (
            MetricsLog(run.path, done, step, within=position > 0) as self.log,
            FitProgress(options.epochs, self.steps, console) as self.progress,
        ):
            self.progress.start(step)
            for epoch in range(done, options.epochs):
                arrays = self._epoch(arrays, epoch, position, stop)
                position = 0
        if console is not None:
            console.print(str(run.path), style="dim", markup=False, highlight=False)
        run.checkpoints.wait()
        wait_for_all("end of fit")
        return self.stepper.seen_by_all(arrays)

    def _show_plan(self, console: Console | None) -> None:
        options, stepper = self.options, self.stepper
        streamed = stepper.steps_per_call(self.batch_size)
        plan_fit(
            self.data,
            stepper.shapes,
            stepper.shardings,
            self.run.path,
            batch=self.batch_size,
            steps=self.steps,
            block=self.block if self.data.resident else streamed,
            threads=options.threads,
            ahead=options.read_ahead,
            group=self.group,
            epochs=options.epochs,
            keep=options.keep,
        ).show(console)

    def _start(self) -> tuple[PyTree, int, int]:
        """Return the arrays to begin with, the epochs done and the steps done in the next."""
        last = self.run.checkpoints.latest()
        if last is None:
            return self.stepper.init(), 0, 0
        last.check_continues(self._position(0, 0), self.run.path)
        arrays = fill_leaves(self.stepper.shapes, self.run.checkpoints.load(last))
        logger.info("going on after epoch %d, step %d", last.epoch, last.step)
        return self.stepper.put(arrays), last.epoch, last.step

    def _epoch(self, arrays: PyTree, epoch: int, position: int, stop) -> PyTree:
        options, began = self.options, time.monotonic()
        plan = self._plan(epoch)
        under_way = self.stepper.epoch(plan, position, epoch * self.steps + position)
        self.interval_began = began
        while under_way.position < self.steps:
            first = under_way.position
            arrays, count, fetch = under_way.advance(arrays)
            # The metrics of a block are read while the next one runs: no gap on the device.
            self._read_pending()
            self.pending = lambda f=first, c=count, get=fetch: self._read(plan, epoch, f, c, get())
            self.run.checkpoints.check()
            wish = self._agree(stop)
            if wish > _SAVE or (wish == _SAVE and under_way.position < self.steps):
                self._read_pending()
                self._save(arrays, epoch, under_way.position)
                if wish > _SAVE:
                    self._interrupt(signal.Signals(wish), epoch, under_way.position)
        self._read_pending()
        done = epoch + 1
        if hasattr(self.method, "end_of_epoch"):
            state = self.method.end_of_epoch(self.stepper.seen_by_all(arrays), done)
            arrays = self.stepper.arrays(state)
        means = self.log.end_epoch(done, done * self.steps)
        rate = means.pop("images_per_second")
        words = ", ".join(f"{name} {value:.6g}" for name, value in means.items())
        spent = duration(time.monotonic() - began)
        line = f"epoch {done}/{options.epochs}: {words}; {spent}, {rate:.0f} images/s"
        logger.info(line)
        self.progress.tell(line)
        if done % options.checkpoint_every == 0 or done == options.epochs:
            if self.on_checkpoint is not None:
                self.on_checkpoint(self.stepper.seen_by_all(arrays), done)
            self._save(arrays, done, 0)
            self.log.plot(at_once=done == options.epochs)
        return arrays

    def _read_pending(self) -> None:
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending()

    def _read(self, plan, epoch: int, first: int, count: int, metrics) -> None:
        """Record a block's metrics and stop at the first loss that is not finite."""
        newest = self.run.checkpoints.latest
        check_losses(metrics["loss"], first, epoch, plan, self.data.table, newest)
        images = plan.weight[first : first + count].sum(1)
        means = {
            name: float(np.average(values.astype(np.float64), weights=images))
            for name, values in metrics.items()
        }
        now = time.monotonic()
        rate = float(images.sum()) / max(now - self.interval_began, 1e-9)
        self.interval_began = now
        self.blocks_read += 1
        # The first block holds the compilation.
        if self.blocks_read == 2:
            spent = duration(self.visits * self.batch_size / self.batch_visits / rate)
            line = f"about {spent} an epoch ({rate:.0f} images/s)"
            logger.info(line)
            self.progress.tell(line)
        step = epoch * self.steps + first + count
        means["images_per_second"] = round(rate, 2)
        self.log.record(epoch + 1, step, int(images.sum()), means)
        self.progress.advance(epoch + 1, step, means["loss"], rate)

    def _agree(self, stop: StopRequest) -> int:
        """Say what to do after a block, alike in all processes: a signal's number, or a wish."""
        late = time.monotonic() - self.last_checkpoint > 60 * self.options.checkpoint_minutes
        mine = _SAVE if late else _NOTHING
        return self.vote(mine if stop.signal is None else int(stop.signal))

    def _position(self, epoch: int, step: int) -> Position:
        return Position(
            epoch=epoch,
            step=step,
            steps=self.steps,
            seed=self.options.seed,
            batch_size=self.batch_size,
            images=len(self.data),
        )

    def _save(self, arrays: PyTree, epoch: int, step: int) -> None:
        """Have a checkpoint written while the fit goes on, and those it replaces removed."""
        position = self._position(epoch, step)
        check_weights(arrays, position, self.run.checkpoints.latest)
        self.run.checkpoints.save_behind(arrays, position)
        self.run.checkpoints.prune(self.options.keep)
        self.last_checkpoint = time.monotonic()

    def _interrupt(self, kind: signal.Signals, epoch: int, step: int) -> None:
        self.log.plot()
        # Only now may it be said that there is something to go on from.
        self.run.checkpoints.wait()
        wait_for_all("stopped")
        raise Interrupted(
            f"stopped by {kind.name} after epoch {epoch}, step {step} of {self.steps}; "
            f"continue with: {self.options.resume_command}"
        )
