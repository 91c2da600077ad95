"""The run and its columns."""

from typing import Any

from fastapi import APIRouter, Response

from vitreous.dashboard.answers import array_answer
from vitreous.dashboard.session import Session


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
    config, store = session.run.config, session.store
    is_training = session.is_training
    columns = [] if store is None else [store.describe(column) for column in store.columns()]
    across, up = ("", "") if store is None else store.plane()
    found: dict[str, Any] = {
        "name": session.run.path.name,
        "folder": str(session.run.path),
        "method": str(config.get("method", "")),
        "state": "training" if is_training else "finished",
        "readOnly": is_training,
        "particles": session.particles,
        "zdim": session.zdim,
        "box": config.get("box"),
        "pixelSize": config.get("pixel_size"),
        "columns": columns,
        "defaultX": across,
        "defaultY": up,
        "warnings": list(dict.fromkeys(session.warnings)),
        "can": {
            "decode": session.maps.can_decode and session.zdim > 0,
            "regress": False,
            "images": False,
            "flexible": False,
            "landscape": False,
            "consensus": session.maps.can_decode,
        },
    }
    if store is not None and "cluster" in store:
        found["clusters"] = len(store["cluster"].names)
    return found
