"""The course of a fit: curves and pictures, while it runs and after."""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from vitreous.analysis.pictures import encode
from vitreous.dashboard.session import Session
from vitreous.errors import InputError
from vitreous.reconstruction.pictures import central_slices
from vitreous.training.run import Run

# What a line of metrics.jsonl says about itself, not about the fit.
_ABOUT = frozenset({"epoch", "step", "images", "seconds", "epoch_mean"})
_MOST_POINTS = 1000
SLICES = "slices of the volume now.png"


def training_routes(session: Session) -> APIRouter:
    """Answer `/api/training`."""
    routes = APIRouter(prefix="/api/training")
    slices = Slices(session)

    @routes.get("")
    def training() -> dict[str, Any]:
        done, planned = session.epochs
        found = picture_files(session.run.path)
        names = [*([SLICES] if session.maps.can_decode or slices.exist() else []), *found]
        return {
            "curves": curves(session.run.metrics(), session.particles),
            "pictures": [{"name": n, "url": f"/api/training/picture/{quote(n)}"} for n in names],
            "state": "training" if session.is_training else "finished",
            "epoch": done,
            "epochs": planned,
        }

    @routes.get("/picture/{name:path}")
    def picture(name: str) -> Response:
        if name == SLICES:
            return Response(slices.draw(), media_type="image/png")
        # Only what was listed: no name can lead out of the run.
        found = picture_files(session.run.path)
        if name not in found:
            raise HTTPException(404, f"no picture {name[:80]!r} in the run")
        return FileResponse(found[name], media_type="image/png")

    return routes


def curves(entries: list[dict[str, Any]], images: int) -> dict[str, list[list[float]]]:
    """Collect each number of `metrics.jsonl` over the epochs, the loss first.

    Every log interval, thinned out where there are very many; `NAME (epoch)` are epoch means.

    **Arguments:** `images`: of an epoch, which tells its length before the first one ends.
    """
    found: dict[str, list[list[float]]] = {}
    means = [entry for entry in entries if entry.get("epoch_mean")]
    steps = [entry for entry in entries if not entry.get("epoch_mean")]
    whole = means[-1] if means else None
    per_epoch = whole["step"] / max(whole["epoch"], 1) if whole else _epoch_length(steps, images)
    for entry in steps[:: max(1, len(steps) // _MOST_POINTS)]:
        for name, value in entry.items():
            if name not in _ABOUT and _is_number(value):
                found.setdefault(name, []).append([entry["step"] / per_epoch, value])
    for entry in means:
        for name, value in entry.items():
            if name not in _ABOUT and _is_number(value):
                found.setdefault(f"{name} (epoch)", []).append([entry["epoch"], value])
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith("loss")))


def picture_files(run: Path) -> dict[str, Path]:
    """List the pictures that a fit and its analysis left in the run, by name."""
    patterns = ("*.png", "figures/*.png", "analyze.*/*.png", "landscape.*/*.png")
    files = [file for pattern in patterns for file in sorted(run.glob(pattern))]
    return {file.relative_to(run).as_posix(): file for file in files if file.is_file()}


class Slices:
    """Draw slices of what the latest checkpoint decodes at the mean of the latents."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._drawn: tuple[Any, bytes] | None = None
        self._lock = threading.Lock()

    def exist(self) -> bool:
        """Whether there is a checkpoint by now."""
        return bool(self._session.run.checkpoints.positions())

    def draw(self) -> bytes:
        """Draw the three central slices side by side, as a PNG.

        **Raises:** `InputError` if there is no checkpoint yet.
        """
        run = self._session.run
        with self._lock:
            latest = run.checkpoints.latest()
            if latest is None:
                raise InputError(f"{run.path}: has no checkpoint yet")
            if self._drawn is None or self._drawn[0] != latest:
                self._drawn = latest, _slices(run.path, self._session.zdim)
            return self._drawn[1]


def _slices(path: Path, dimensions: int) -> bytes:
    # Opened anew: the session keeps the weights it began with.
    run = Run.open(path)
    try:
        middle = run.latents().mean.mean(axis=0, keepdims=True).astype(np.float32)
    except InputError:
        middle = np.zeros((1, int(run.config.get("zdim") or dimensions)), np.float32)
    pictures = central_slices(run.decode(middle)[0])
    low, high = np.percentile(np.stack(pictures), [0.5, 99.9])
    row = np.hstack([np.pad(picture[::-1], 1, constant_values=low) for picture in pictures])
    grey = np.clip((row - low) / max(float(high - low), 1e-12), 0, 1)
    return encode(np.repeat(np.repeat(np.rint(255 * grey).astype(np.uint8), 3, 0), 3, 1))


def _epoch_length(steps: list[dict[str, Any]], images: int) -> float:
    seen = sum(entry.get("images", 0) for entry in steps)
    return steps[-1]["step"] * max(images, seen) / seen if seen else 1.0


def _is_number(value: Any) -> bool:
    is_kind = isinstance(value, int | float) and not isinstance(value, bool)
    return is_kind and bool(np.isfinite(value))
