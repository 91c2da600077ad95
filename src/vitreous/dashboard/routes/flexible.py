"""Gaussians of flexible runs: where they are, and how far a particle's latent moves them."""

from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException

from vitreous.dashboard.answers import finite
from vitreous.dashboard.session import Session
from vitreous.methods.registry import gaussian_model


def flexible_routes(session: Session) -> APIRouter:
    """Answer `/api/flexible`."""
    routes = APIRouter(prefix="/api/flexible")

    @routes.get("/gaussians")
    def gaussians(particle: int) -> dict[str, Any]:
        model = gaussian_model(session.run.method)
        if model is None:
            raise HTTPException(404, f"a run of method {session.run.method} has no Gaussians")
        found = model(session.run, session.z_of(particle)[None])
        positions, displacements, widths = (np.asarray(part) for part in found)
        return {
            "positions": [finite(point) for point in positions],
            "displacements": [finite(step) for step in displacements],
            "widths": finite(widths),
        }

    return routes
