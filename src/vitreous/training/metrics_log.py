"""What a fit records while it runs: `metrics.jsonl`, TensorBoard events and the loss curve."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.files import atomic_path, is_writer, write_text

# Seconds between two drawings of the loss while epochs are short.
_PLOT_INTERVAL = 30.0


class MetricsLog:
    """Append scalars to a run; a context manager. Of several processes only the first writes.

    Each line of `metrics.jsonl` holds `epoch` (1-based, the one under way), `step` (steps done
    in all), `images` (averaged over), `seconds` (since the run began) and the means of the
    scalars. After an epoch one more line holds the means over it and `"epoch_mean": true`.

    **Arguments:** `folder`: the run. `epoch`: epochs completed where the fit goes on. `step`:
    steps done in all there; 0 for a new run. `within`: the fit goes on within an epoch. Lines
    of a process that was killed after its last checkpoint are dropped.
    """

    def __init__(
        self, folder: Path, epoch: int = 0, step: int = 0, *, within: bool = False
    ) -> None:
        self._folder = folder
        self._file = folder / "metrics.jsonl"
        self._entries = [
            entry
            for entry in read_metrics(self._file)
            if entry["epoch"] <= epoch
            or (
                (within and entry["epoch"] == epoch + 1 and entry["step"] <= step)
                and "epoch_mean" not in entry
            )
        ]
        write_text(self._file, "".join(json.dumps(entry) + "\n" for entry in self._entries))
        before = self._entries[-1]["seconds"] if self._entries else 0.0
        self._began = time.monotonic() - before
        self._step = step
        self._plotted = -_PLOT_INTERVAL
        self._board: Any = None

    def __enter__(self) -> "MetricsLog":
        if not is_writer():
            return self
        from tensorboardX import SummaryWriter

        self._board = SummaryWriter(
            str(self._folder / "tensorboard"), purge_step=self._step, flush_secs=30
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def record(self, epoch: int, step: int, images: int, means: dict[str, float]) -> None:
        """Append the means of one log interval."""
        self._append({"epoch": epoch, "step": step, "images": images}, means)
        self._draw("step", means, step)

    def end_epoch(self, epoch: int, step: int) -> dict[str, float]:
        """Append and return the means over an epoch, the part before a resume included."""
        entries = [e for e in self._entries if e["epoch"] == epoch and "epoch_mean" not in e]
        images = np.array([entry["images"] for entry in entries], np.float64)
        skip = ("epoch", "step", "images", "seconds")
        means = {
            name: float(np.average([entry[name] for entry in entries], weights=images))
            for name in entries[-1]
            if name not in skip
        }
        # A rate averages over time, not over images.
        rates = np.array([entry["images_per_second"] for entry in entries])
        means["images_per_second"] = round(float(images.sum() / (images / rates).sum()), 2)
        about = {"epoch": epoch, "step": step, "images": int(images.sum()), "epoch_mean": True}
        self._append(about, means)
        self._draw("epoch", means, epoch)
        return means

    def _draw(self, kind: str, means: dict[str, float], place: int) -> None:
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(f"{kind}/{name}", value, place)

    def plot(self, at_once: bool = True) -> None:
        """Draw `loss.png` from all that was recorded, unless it was drawn moments ago."""
        now = time.monotonic()
        if not is_writer():
            return
        if not at_once and now - self._plotted < _PLOT_INTERVAL:
            return
        self._plotted = now
        plot_loss(self._entries, self._folder / "loss.png")

    def _append(self, about: dict[str, Any], means: dict[str, float]) -> None:
        entry = {**about, "seconds": round(time.monotonic() - self._began, 3), **means}
        self._entries.append(entry)
        if not is_writer():
            return
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {self._file}: {error.strerror}; the last checkpoint is whole, "
                "make room and continue with --resume"
            ) from error


def plot_loss(entries: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss over epochs: every log interval faintly, the mean of each epoch as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means = [entry for entry in entries if "epoch_mean" in entry]
    intervals = [entry for entry in entries if "epoch_mean" not in entry]
    if not intervals:
        return
    last = means[-1] if means else intervals[-1]
    steps_per_epoch = last["step"] / last["epoch"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel="epoch", ylabel="loss", title=f"loss {last['loss']:.6g} at epoch {last['epoch']}"
    )
    axes.plot(
        [entry["step"] / steps_per_epoch for entry in intervals],
        [entry["loss"] for entry in intervals],
        color="0.75",
        linewidth=0.8,
    )
    if means:
        axes.plot([m["epoch"] for m in means], [m["loss"] for m in means], "o-", color="C0", ms=3)
    # The first steps are far above the rest: let the bulk fill the picture.
    values = np.array([entry["loss"] for entry in intervals])
    low, high = np.quantile(values, [0.0, 0.98])
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; a last line cut short by a kill is left out."""
    if not file.is_file():
        return []
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries
