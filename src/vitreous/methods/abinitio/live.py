"""A fit as it stands, for whoever watches: pictures in the run's folder, and TensorBoard."""

import time
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.files import is_writer
from vitreous.methods.abinitio.figures import draw_progress
from vitreous.training.run import Run

# Seconds between two drawings while epochs are short.
_INTERVAL = 20.0


class LiveFigures:
    """Draw a fit again and again; a context manager.

    Pictures lie in `figures/`; TensorBoard gets them too, and every number of the history.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._told = 0
        self._drawn = -_INTERVAL
        self._board: Any = None

    def __enter__(self) -> "LiveFigures":
        if is_writer():
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self._run.path / "tensorboard"), flush_secs=30)
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def show(
        self,
        rotation: Float[np.ndarray, "n 3 3"],
        volume: Float[np.ndarray, "b b b"],
        fsc: Float[np.ndarray, " shells"],
        history: list[dict[str, Any]],
        latents: Float[np.ndarray, "m d"] | None = None,
        at_once: bool = False,
    ) -> None:
        """Tell what is new in the history, and draw, unless it was drawn moments ago.

        **Arguments:** as `draw_progress`. `at_once`: draw in any case.
        """
        if self._board is None:
            return
        for step, entry in enumerate(history[self._told :], start=self._told + 1):
            for name, value in entry.items():
                if isinstance(value, int | float) and name not in ("epoch", "step", "images"):
                    self._board.add_scalar(f"abinitio/{name}", float(value), step)
        self._told = len(history)
        now = time.monotonic()
        if not at_once and now - self._drawn < _INTERVAL:
            return
        self._drawn = now
        drawn = draw_progress(
            self._run.path / "figures",
            rotation,
            volume,
            fsc,
            history,
            self._run.pixel_size,
            latents,
        )
        for path in drawn:
            self._board.add_image(path.stem, _pixels(path), len(history), dataformats="HWC")


def _pixels(path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
