"""Volumes: decoded, of clusters, of all particles, and of the images of a selection."""

import shlex
import threading
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Response

from vitreous.analysis.selecting import INDICES
from vitreous.dashboard.answers import command_header, finite, map_answer
from vitreous.dashboard.points import asked_point
from vitreous.dashboard.recent import Recent
from vitreous.dashboard.routes.selecting import Chosen
from vitreous.dashboard.rules import Rule
from vitreous.dashboard.session import Session

_KEPT = 6


class Made(NamedTuple):
    """A map made of images, and the command that makes the same."""

    volume: np.ndarray
    command: str


def volume_routes(session: Session) -> APIRouter:
    """Answer `/api/volume` and `/api/regress`."""
    routes = APIRouter(prefix="/api")
    made: Recent[Made] = Recent("map", _KEPT)
    lock = threading.Lock()

    @routes.get("/volume")
    def volume(
        particle: int | None = None,
        z: str | None = None,
        consensus: bool = False,
        cluster: int | None = None,
        axes: str | None = None,
    ) -> Response:
        maps, size = session.maps, session.run.pixel_size
        if consensus:
            found, command = maps.consensus(session.store)
            return map_answer(found, size, command)
        point = asked_point(session, particle, z, cluster, axes)
        return map_answer(maps.decode(point), size, maps.command(point))

    @routes.post("/regress")
    def regress(chosen: Chosen, response: Response) -> dict[str, Any]:
        with lock:
            found, about = map_selection(session, chosen.rule)
        about["id"] = made.add(Made(found, about["command"]))
        response.headers.update(command_header(about["command"]))
        return about

    @routes.get("/regress/{number}")
    def regressed(number: int) -> Response:
        return map_answer(made[number].volume, session.run.pixel_size, made[number].command)

    return routes


def map_selection(session: Session, rule: Rule) -> tuple[np.ndarray, dict[str, Any]]:
    """Make the map of a selection.

    **Returns:** the map, and its count, FSC, images of each shell, resolution, method and command
    in the words of the page.
    """
    from vitreous.analysis.selection_map import map_of_selection
    from vitreous.reconstruction.fsc import resolution, shell_frequencies

    rules, run = session.rules(), session.run
    mask = rules.chosen(rule)
    epoch = session.table.candidates_now().epoch
    found, method, note = map_of_selection(run, session.table.images(), mask, epoch)
    frequency = shell_frequencies(len(found.fsc), run.box, run.pixel_size)
    return found.volume, {
        "count": int(mask.sum()),
        "fsc": {"frequency": finite(frequency), "value": finite(found.fsc)},
        "images": found.images.tolist(),
        "resolution": float(f"{resolution(found.fsc, run.pixel_size, box=run.box):.5g}"),
        "method": method,
        "note": note,
        "command": _command(session, rule),
    }


def _command(session: Session, rule: Rule) -> str:
    """Word the commands that make the map of a selection."""
    epoch = session.table.candidates_now().epoch
    moved = [] if session.datadir is None else ["--datadir", str(session.datadir)]
    words = ["vitreous", "regress", str(session.run.path)]
    if isinstance(rule.get("named"), str) and not rule["named"].lower().endswith(INDICES):
        first, words = "", [*words, "--selection", rule["named"]]
    else:
        first = session.rules().command(rule, *moved, "-o", "chosen.txt") + " && "
        words += ["--selection", "chosen.txt"]
    words += moved if epoch is None else ["--epoch", str(epoch), *moved]
    return first + shlex.join([*words, "-o", "chosen"])
