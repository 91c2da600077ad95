"""Gaussians of flexible runs: where they are, and how far a latent moves them."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException

from vitreous.dashboard.answers import finite
from vitreous.dashboard.points import asked_point
from vitreous.dashboard.session import Session
from vitreous.training.registry import gaussian_model


def flexible_routes(session: Session) -> APIRouter:
    """Answer `/api/flexible`."""
    routes = APIRouter(prefix="/api/flexible")
    loaded: dict[int | None, Callable] = {}
    lock = threading.Lock()

    @routes.get("/gaussians")
    def gaussians(
        particle: int | None = None,
        z: str | None = None,
        cluster: int | None = None,
        axes: str | None = None,
    ) -> dict[str, Any]:
        loader = gaussian_model(session.run.method)
        if loader is None:
            raise HTTPException(404, f"a run of method {session.run.method} has no Gaussians")
        point = asked_point(session, particle, z, cluster, axes)
        # The weights that volumes are decoded with, also while the fit goes on.
        epoch = session.maps.epoch
        with lock:
            if epoch not in loaded:
                loaded[epoch] = loader(session.run, epoch)
            found = loaded[epoch](point[None])
        positions, displacements, widths = (np.asarray(part) for part in found)
        return {
            "positions": [finite(point) for point in positions],
            "displacements": [finite(step) for step in displacements],
            "widths": finite(widths),
        }

    return routes
