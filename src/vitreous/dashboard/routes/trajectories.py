"""Trajectories: made, played, saved as maps and movies."""

import shlex
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from vitreous.dashboard.answers import command_header, finite, map_answer
from vitreous.dashboard.recent import Recent
from vitreous.dashboard.session import Session
from vitreous.dashboard.trajectories import Kind, Pathfinder, Trajectory, check_frames
from vitreous.errors import InputError

_KEPT = 30


class Wanted(BaseModel):
    """A path to make: through particles, through latents, or along a component."""

    kind: Kind
    anchors: list[int] | None = None
    points: list[list[float]] | None = None
    component: int = 1
    frames: int | None = None


class Saving(BaseModel):
    """What to write of a path."""

    maps: bool = True
    movie: Literal["mp4", "gif"] | None = None
    cxc: bool = False


def trajectory_routes(session: Session) -> APIRouter:
    """Answer `/api/trajectory`."""
    routes = APIRouter(prefix="/api/trajectory")
    made: Recent[Trajectory] = Recent("trajectory", _KEPT)
    finders: list[Pathfinder] = []

    def finder() -> Pathfinder:
        if not finders:
            session.latents()
            of_run = session.table.candidates_now(wait=False).of_run
            assert of_run is not None
            finders.append(Pathfinder(session.run.path, of_run))
        return finders[0]

    @routes.post("")
    def make(wanted: Wanted, response: Response) -> dict[str, Any]:
        found = _made(session, finder(), wanted)
        response.headers.update(command_header(found.command))
        return {
            "id": made.add(found),
            "z": [finite(point) for point in found.z],
            "particles": found.particles.tolist(),
            "command": found.command,
        }

    @routes.get("/{number}/{frame}")
    def play(number: int, frame: int) -> Response:
        z = made[number].z
        if not 0 <= frame < len(z):
            raise InputError(f"frame {frame}: the path has 0 to {len(z) - 1}")
        maps = session.maps
        return map_answer(maps.decode(z[frame]), session.run.pixel_size, maps.command(z[frame]))

    @routes.post("/{number}/save")
    def save(number: int, saving: Saving, response: Response) -> dict[str, Any]:
        session.check_writable()
        folder = session.run.path / "trajectories" / f"path_{_next(session.run.path):03d}"
        # What draws takes a second to import: not before the page is open.
        from vitreous.dashboard.saving import save_series

        if not (saving.maps or saving.movie or saving.cxc):
            raise InputError("nothing to save: maps, movie or cxc")
        has_maps = saving.maps or saving.cxc
        paths = save_series(session.maps, made[number].z, folder, has_maps, saving.movie)
        words = ["vitreous", "eval-vol", str(session.run.path)]
        words += ["--zfile", str(folder / "z_values.txt"), "-o", str(folder)]
        response.headers.update(command_header(shlex.join(words)))
        return {"paths": [str(path) for path in paths], "command": shlex.join(words)}

    return routes


def _made(session: Session, finder: Pathfinder, wanted: Wanted) -> Trajectory:
    frames = check_frames(20 if wanted.frames is None else wanted.frames)
    if wanted.kind == "pc":
        return finder.along_component(wanted.component, frames)
    if wanted.points is not None and wanted.kind == "direct":
        return finder.through_points(wanted.points, frames)
    anchors = session.rules().check_particles(wanted.anchors or [])
    if len(anchors) < 2:
        raise InputError("a path needs two particles or more to go through")
    if wanted.kind == "graph":
        return finder.along_graph(anchors, None if wanted.frames is None else frames)
    return finder.through_particles(anchors, frames)


def _next(run: Path) -> int:
    taken = [p.name[5:] for p in (run / "trajectories").glob("path_*")]
    return max((int(name) for name in taken if name.isdigit()), default=0) + 1
