"""How a fit runs, whatever the method: epochs, batches, checkpoints, readers."""

from dataclasses import dataclass

from vitreous.errors import InputError
from vitreous.training.precision import Precision


@dataclass(frozen=True)
class FitOptions:
    """Say how a fit runs, whatever the method.

    **Arguments:** `epochs`: in all, earlier parts of a resumed run included. `batch_size`:
    images a step; rounded up to a multiple of the devices. `seed`: of everything random.
    `checkpoint_every`: epochs between checkpoints; the last epoch always has one.
    `checkpoint_minutes`: a checkpoint within long epochs, replaced by the next one. `keep`: how
    many epoch checkpoints stay; None keeps all. `log_every`: steps in one compiled block, and
    between two looks at the loss. `precision`: of matrix products. `shuffle_chunk`: images
    shuffled as one run, for disks that are slow at single images (1: a plain permutation).
    `shuffle_buffer`: images of a window in which runs are mixed; a few windows are held in
    memory when streaming in runs. `threads`, `read_ahead`: readers and batches of the queue.
    `resume_command`: what an interrupted run tells the user to type. `quiet`: no progress.
    """

    epochs: int = 20
    batch_size: int = 32
    seed: int = 0
    checkpoint_every: int = 1
    checkpoint_minutes: float = 30.0
    keep: int | None = None
    log_every: int = 16
    precision: Precision = "auto"
    shuffle_chunk: int = 1
    shuffle_buffer: int = 4096
    threads: int = 2
    read_ahead: int = 4
    resume_command: str = "vitreous … --resume"
    quiet: bool = False

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "checkpoint_every", "keep", "log_every", "threads")
        for name in (*counts, "shuffle_chunk", "shuffle_buffer", "read_ahead"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
