"""Selections: choosing, keeping, taking them back."""

import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel

from vitreous.analysis.selections import (
    Selection,
    delete_selection,
    load_selection,
    save_selection,
    saved_selections,
    selection_path,
)
from vitreous.dashboard.answers import command_header, mask_answer
from vitreous.dashboard.exporting import SUFFIXES, export_rows
from vitreous.dashboard.rules import Rule
from vitreous.dashboard.session import Session
from vitreous.errors import InputError

ALL: Rule = {"all": True}


class Chosen(BaseModel):
    """A rule, as the page sends it."""

    rule: dict[str, Any]


class Export(Chosen):
    """A selection to write, and as what."""

    name: str
    format: Literal["star", "cs", "index", "csv"] = "star"
    inverse: bool = False


class Selections:
    """Keep the selections of a run, and what was last read of each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read: dict[str, tuple[float, dict[str, Any]]] = {}

    def listed(self) -> list[dict[str, Any]]:
        """List what is saved; a file that is none is left out with a warning."""
        folder, found = self._session.run.path, []
        for name in saved_selections(folder):
            path = selection_path(folder, name)
            changed = path.stat().st_mtime
            if self._read.get(name, (0.0,))[0] != changed:
                try:
                    self._read[name] = changed, _described(load_selection(folder, name), path)
                except InputError as error:
                    self._session.warnings.append(str(error))
                    continue
            found.append(self._read[name][1])
        return found

    def save(self, name: str, rule: Rule) -> dict[str, Any]:
        """Keep what a rule chooses under a name."""
        self._session.check_writable()
        rules = self._session.rules()
        selection_path(self._session.run.path, name)
        mask = rules.chosen(rule)
        candidates = self._session.table.candidates_now()
        of: Literal["images", "particles"]
        of = "particles" if candidates.of == "particles" else "images"
        rows, file = np.sort(rules.rows[mask]), str(candidates.particles)
        chosen = Selection(name, rows, of, rules.word(rule), len(mask), file)
        return _described(chosen, save_selection(self._session.run.path, chosen))


def selecting_routes(session: Session) -> APIRouter:
    """Answer `/api/select` and `/api/selections`."""
    routes = APIRouter(prefix="/api")
    kept = Selections(session)

    @routes.post("/select")
    def select(chosen: Chosen) -> Response:
        rules = session.rules()
        return mask_answer(rules.mask(chosen.rule), rules.command(chosen.rule))

    @routes.get("/selections")
    def selections() -> list[dict[str, Any]]:
        return kept.listed()

    @routes.put("/selections/{name}")
    def save(name: str, chosen: Chosen, response: Response) -> dict[str, Any]:
        found = kept.save(name, chosen.rule)
        found["command"] = session.rules().command(chosen.rule, "--save", name)
        response.headers.update(command_header(found["command"]))
        return found

    @routes.delete("/selections/{name}")
    def delete(name: str) -> dict[str, str]:
        session.check_writable()
        delete_selection(session.run.path, name)
        return {"deleted": name}

    @routes.post("/selections/export")
    def export(wanted: Export, response: Response) -> dict[str, Any]:
        found = export_selection(session, wanted)
        response.headers.update(command_header(found["command"]))
        return found

    return routes


def export_selection(session: Session, wanted: Export) -> dict[str, Any]:
    """Write a selection into the run, in the form that was asked for.

    **Raises:** `InputError` if it is empty, or cannot be written in this form.
    """
    session.check_writable()
    rules = session.rules()
    rule: Rule = {"not": wanted.rule} if wanted.inverse else wanted.rule
    mask = rules.chosen(rule)
    name = f"{wanted.name}_inverse" if wanted.inverse else wanted.name
    # The name is checked as that of a selection; it can lead nowhere else.
    path = selection_path(session.run.path, name).with_name(name + SUFFIXES[wanted.format])
    images = int(session.run.config.get("images", len(mask)))
    opened = session.table.candidates_now()
    which = images, opened.epoch, opened.clusters
    export_rows(session.run.path, session.datadir, rules.rows[mask], path, *which)
    command = rules.command(rule, *_datadir(session), "-o", str(path))
    return {"path": str(path), "count": int(mask.sum()), "command": command}


def _datadir(session: Session) -> tuple[str, ...]:
    return () if session.datadir is None else ("--datadir", str(session.datadir))


def _described(selection: Selection, path: Path) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    return {
        "name": selection.name,
        "count": len(selection),
        "rule": selection.rule,
        "saved": when.isoformat(timespec="seconds"),
    }
