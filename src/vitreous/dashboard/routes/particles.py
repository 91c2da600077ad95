"""Particles: their images, and from where they are seen."""

import shlex
import tempfile
from pathlib import Path

import numpy as np
from fastapi import APIRouter, Response

from vitreous.dashboard.answers import command_header
from vitreous.dashboard.routes.selecting import ALL, Chosen
from vitreous.dashboard.rules import Rule
from vitreous.dashboard.session import Session
from vitreous.errors import InputError

MOST_IMAGES = 144
_DIRECTIONS = 4000


def particle_routes(session: Session) -> APIRouter:
    """Answer `/api/montage` and `/api/poses`."""
    routes = APIRouter(prefix="/api")

    @routes.get("/montage")
    def montage(indices: str, corrected: bool = False, projections: bool = False) -> Response:
        from vitreous.dashboard.images import draw_particles

        particles = _numbers(session, indices)
        picture, columns, cell = draw_particles(
            session.table,
            session.maps if projections and session.maps.can_decode else None,
            session.latents().z[particles],
            particles,
            corrected,
            session.run.config.get("contrast") == "dark",
        )
        table = session.table.rows_of(particles)
        rows = map(str, table.row.tolist())
        words = ["vitreous", "view", str(table.path), "--ind", *rows, "-o", "montage.png"]
        command = shlex.join(words)
        headers = {"X-Columns": str(columns), "X-Cell": str(cell), **command_header(command)}
        return Response(picture, media_type="image/png", headers=headers)

    @routes.get("/poses")
    def poses_of_saved(name: str | None = None) -> Response:
        return _poses(session, ALL if name is None else {"named": name})

    @routes.post("/poses")
    def poses(chosen: Chosen) -> Response:
        return _poses(session, chosen.rule)

    return routes


def _poses(session: Session, rule: Rule) -> Response:
    """Draw the viewing directions of a selection."""
    # Matplotlib takes half a second to import: not before the page is open.
    from vitreous.reconstruction.directions import draw_directions

    rules = session.rules()
    chosen = np.flatnonzero(rules.chosen(rule))
    table = session.table.table()
    if table.rotation is None:
        raise InputError(f"{table.path}: no poses are known of its particles")
    title = f"viewing directions of {len(chosen):,} particles"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "poses.png"
        draw_directions(file, np.asarray(table.rotation[chosen]), title, _DIRECTIONS)
        picture = file.read_bytes()
    return Response(picture, media_type="image/png", headers=command_header(rules.command(rule)))


def _numbers(session: Session, indices: str) -> np.ndarray:
    try:
        numbers = [int(part) for part in indices.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"indices: {indices[:80]!r} are no whole numbers") from None
    if not numbers:
        raise InputError("the selection is empty: no images to show")
    if len(numbers) > MOST_IMAGES:
        raise InputError(f"{len(numbers)} images at once are too many: ask for {MOST_IMAGES}")
    return session.rules().check_particles(numbers)
