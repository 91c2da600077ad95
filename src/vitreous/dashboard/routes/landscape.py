"""The landscape of a run: sketched volumes by what they look like, and their states."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from vitreous.dashboard.answers import finite, map_answer
from vitreous.dashboard.session import Session
from vitreous.errors import InputError
from vitreous.maps import read_map


def landscape_routes(session: Session) -> APIRouter:
    """Answer `/api/landscape`."""
    routes = APIRouter(prefix="/api/landscape")

    @routes.get("")
    def landscape() -> dict[str, Any]:
        folder = landscape_folder(session.run.path)
        command = shlex.join(["vitreous", "analyze-landscape", str(session.run.path)])
        if folder is None:
            return {"available": False, "points": [], "stateOf": [], "command": command}
        return {"available": True, "command": command, **describe_landscape(folder)}

    @routes.get("/volume/{number}")
    def volume(number: int) -> Response:
        folder = landscape_folder(session.run.path)
        files = [] if folder is None else sketched_volumes(folder)
        if not 1 <= number <= len(files):
            raise InputError(f"volume {number}: the landscape has {len(files)}, counted from 1")
        file = files[number - 1]
        found = read_map(file)
        command = shlex.join(["vitreous", "view", str(file)])
        return map_answer(found.data, found.voxel_size, command)

    return routes


def landscape_folder(run: Path) -> Path | None:
    """Find the landscape of the latest epoch that has a whole one."""
    whole = [f.parent for f in run.glob("landscape.*/vol_pca.npz") if _whole(f.parent)]
    return max(whole, key=lambda folder: int(folder.name.partition(".")[2]), default=None)


def _whole(folder: Path) -> bool:
    is_numbered = re.fullmatch(r"landscape\.\d+", folder.name) is not None
    return is_numbered and (folder / "landscape.json").is_file()


def _facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "landscape.json").read_text(encoding="utf-8"))


def _sketch(folder: Path) -> Path:
    """Find the sketch that the landscape was last made of: earlier ones of other sizes stay."""
    return folder / f"kmeans{_facts(folder)['volumes']}"


def sketched_volumes(folder: Path) -> list[Path]:
    """List the volumes that stand for the particles about them, in the order of their numbers."""
    files = _sketch(folder).glob("vol_*.mrc")
    # By number: as text, vol_1000 comes before vol_101.
    return sorted(files, key=lambda file: (len(file.name), file.name))


def describe_landscape(folder: Path) -> dict[str, Any]:
    """Put a landscape into the words of the page.

    `stateOf`: the state of each sketched volume, from 1. `energies`: of each sketched volume in
    kT, by how many particles it stands for; `states`: of each its particles and free energy.
    """
    # Plots and clustering come with it: not before the page is open.
    from vitreous.analysis.landscape_files import read_space

    _, scores, _ = read_space(folder)
    facts = _facts(folder)
    labels = list(folder.glob("sketch_clustering_*/state_labels.npy"))
    states = np.ones(len(scores), np.int64)
    if labels:
        # Clusterings of earlier calls stay beside the one that was made last.
        newest = max(labels, key=lambda file: file.stat().st_mtime_ns)
        states = np.load(newest, allow_pickle=False)
    owner = _sketch(folder) / "labels.npy"
    found: dict[str, Any] = {
        "folder": str(folder),
        "points": [finite(point) for point in scores],
        "stateOf": states.tolist(),
        "explained": facts.get("explained", []),
    }
    if owner.is_file():
        sizes = np.bincount(np.load(owner, allow_pickle=False), minlength=len(scores))
        found["sizes"] = sizes.tolist()
        found["energies"] = finite(_energy(sizes))
    counts = np.asarray(facts.get("particles_of_states", []), np.int64)
    if len(counts):
        found["states"] = [
            {"state": k + 1, "particles": int(n), "energy": e}
            for k, (n, e) in enumerate(zip(counts, finite(_energy(counts)), strict=True))
        ]
    return found


def _energy(counts: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(counts, 0.5) / max(float(counts.max(initial=1)), 1.0))
