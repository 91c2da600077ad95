"""What a run says about poses that it found: a section of its report, or a page by itself."""

import base64
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from vitreous.analysis.facts import run_facts
from vitreous.errors import InputError
from vitreous.files import write_text
from vitreous.training.run import Run

# Pictures in the `figures` folder of a run, in reading order.
_FIGURES = {
    "poses.png": "From where the particle is seen; 1 is as often as if views were spread evenly.",
    "slices.png": "The map of all images: central slices, projections below.",
    "fsc.png": "Correlation of half maps whose poses were found apart beyond the first shells.",
    "history.png": "How the search went.",
}


def pose_summary(run: Run) -> dict[str, Any] | None:
    """Read what an ab initio run found; None for a run with given poses."""
    file = run.path / "found.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def pose_facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Word the summary of an ab initio run."""
    return [
        ("poses", found["verdict"]),
        ("resolution of the half maps", f"{found['resolution']:.3g} Å"),
        ("hand", found["hand"]),
    ]


def pose_section(run: Run) -> str:
    """Show poses, map and course of an ab initio run; nothing for other runs."""
    found = pose_summary(run)
    if found is None:
        return ""
    shown = []
    for name, caption in _FIGURES.items():
        file = run.path / "figures" / name
        if file.is_file():
            data = base64.b64encode(file.read_bytes()).decode()
            shown.append(
                f'<figure><img src="data:image/png;base64,{data}" alt="{escape(caption)}" '
                f'style="width:100%;border-radius:6px;background:#fff">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in pose_facts(found)
    )
    return (
        '<section id="poses"><h2>Poses found</h2>'
        f'<table class="facts"><tbody>{rows}</tbody></table>'
        f'<div class="charts" style="margin-top:18px">{"".join(shown)}</div></section>'
    )


def write_pose_page(run: Run) -> Path:
    """Write `report.html` of an ab initio run without latents, which needs no other file.

    **Raises:** `InputError` if the run has found no poses yet.
    """
    section = pose_section(run)
    if not section:
        raise InputError(f"{run.path}: has found no poses yet; continue it with --resume")
    facts = run_facts(run, run.epochs()[-1], 0, run.pixel_size)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts
    )
    style = (files("vitreous.analysis") / "assets" / "report.css").read_text(encoding="utf-8")
    title = escape(run.path.name)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · vitreous</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><header><div><p class="brand">vitreous</p><h1>{title}</h1>
<p class="subtitle">{run.config["images"]:,} images · poses found from the images alone</p></div>
</header><main>{section}<section id="training"><h2>The fit</h2>
<table class="facts"><tbody>{rows}</tbody></table></section></main>
<footer><p>Maps and poses lie in <code>{escape(str(run.path))}</code>: <code>particles.star</code>
with <code>volumes/consensus.mrc</code>, <code>particles_mirrored.star</code> with
<code>volumes/consensus_mirrored.mrc</code>.</p></footer></body></html>
"""
    write_text(run.path / "report.html", page)
    return run.path / "report.html"
