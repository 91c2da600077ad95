"""Volumes: decoded, of clusters, of all particles."""

import shlex

import numpy as np
from fastapi import APIRouter, Response

from vitreous.dashboard.answers import map_answer
from vitreous.dashboard.session import Session
from vitreous.errors import InputError


def volume_routes(session: Session) -> APIRouter:
    """Answer `/api/volume`."""
    routes = APIRouter(prefix="/api")

    @routes.get("/volume")
    def volume(
        particle: int | None = None,
        z: str | None = None,
        consensus: bool = False,
        cluster: int | None = None,
    ) -> Response:
        maps, size = session.maps, session.run.pixel_size
        if consensus:
            made = maps.consensus(session.latents().z)
            command = shlex.join(["vitreous", "analyze", str(session.run.path)])
            return map_answer(made, size, command)
        point = _place(session, particle, z, cluster)
        return map_answer(maps.decode(point), size, maps.command(point))

    return routes


def _place(
    session: Session, particle: int | None, z: str | None, cluster: int | None
) -> np.ndarray:
    """Find the latent that a request means."""
    if particle is not None:
        return session.z_of(particle)
    if z is not None:
        try:
            return np.array([float(part) for part in z.split(",")], np.float32)
        except ValueError:
            raise InputError(f"z: {z[:80]!r} is no list of numbers") from None
    if cluster is not None:
        mask = session.chooser().mask({"cluster": [cluster]})
        if not mask.any():
            raise InputError(f"cluster {cluster}: no particle is in it")
        return session.latents().z[mask].mean(axis=0)
    raise InputError("say which volume: particle, z, cluster or consensus")
