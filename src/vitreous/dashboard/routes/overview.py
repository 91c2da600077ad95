"""The run and its columns."""

from typing import Any

from fastapi import APIRouter, Response

from vitreous.dashboard.answers import array_answer
from vitreous.dashboard.routes.landscape import landscape_folder
from vitreous.dashboard.session import Session
from vitreous.dashboard.table_files import LARGE
from vitreous.training.registry import gaussian_model

_PATIENCE = 0.5


def overview_routes(session: Session) -> APIRouter:
    """Answer `/api/run` and `/api/columns`."""
    routes = APIRouter(prefix="/api")

    @routes.get("/run")
    def run() -> dict[str, Any]:
        return describe_run(session)

    @routes.get("/columns/{name:path}")
    def column(name: str) -> Response:
        return array_answer(session.latents().values(name))

    return routes


def describe_run(session: Session) -> dict[str, Any]:
    """Put a run into the words of the page."""
    session.look_again()
    config, store = session.run.config, session.store
    # A small table is there before anybody could miss its columns.
    if session.particles < LARGE:
        session.table.wait(_PATIENCE)
    is_training = session.is_training
    # Before the plane is chosen: what cannot be had drops out here.
    columns = [] if store is None else store.described()
    across, up = ("", "") if store is None else store.plane()
    found: dict[str, Any] = {
        "name": session.run.path.name,
        "folder": str(session.run.path),
        "method": str(config.get("method", "")),
        "state": "training" if is_training else "finished",
        "readOnly": is_training,
        "loading": session.table.is_reading,
        "particles": session.particles,
        "latentsOf": str(config.get("latents_of", "images")),
        "epoch": session.maps.epoch,
        "zdim": session.zdim,
        "box": config.get("box"),
        "pixelSize": config.get("pixel_size"),
        "columns": columns,
        "defaultX": across,
        "defaultY": up,
        "warnings": list(dict.fromkeys(session.warnings)),
        "can": _abilities(session),
    }
    if store is not None and "cluster" in store:
        found["clusters"] = len(store["cluster"].names)
    return found


def _abilities(session: Session) -> dict[str, bool]:
    can_decode = session.maps.can_decode
    has_images = session.store is not None and not session.table.fault
    return {
        "decode": can_decode and session.zdim > 0,
        "regress": has_images and "normalization" in session.run.config,
        "images": has_images,
        "flexible": gaussian_model(str(session.run.config.get("method"))) is not None,
        "landscape": landscape_folder(session.run.path) is not None,
        "consensus": can_decode,
    }
