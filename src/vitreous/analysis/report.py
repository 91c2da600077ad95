"""One self-contained `report.html`: the latent, its volumes, the path along it, the fit's facts.

Everything is inside the file: pictures as data, styles and script inline. It opens without a
network, and what is not interactive is there without script too.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from vitreous.analysis.clusters import Clusters
from vitreous.analysis.pictures import encode
from vitreous.analysis.plots import CLUSTER_COLORS
from vitreous.analysis.svg import line_chart
from vitreous.analysis.variables import Variable
from vitreous.files import write_text

Picture = UInt8[np.ndarray, "..."]
# More points than this are too much for a browser to redraw while the mouse moves; more bytes of
# them make a page that is slow to send.
MOST_POINTS = 100_000
MOST_BYTES = 5_000_000


@dataclass(frozen=True)
class VolumeCard:
    """A cluster centre in pictures: its shaded surface and three mean projections."""

    surface: Picture
    projections: Sequence[Picture]


@dataclass(frozen=True)
class PathCard:
    """A traversal in pictures, with the particle nearest to each frame."""

    title: str
    frames: Sequence[Picture]
    nearest: Int[np.ndarray, " m"]
    captions: Sequence[str]


@dataclass(frozen=True)
class Report:
    """All that a report shows; empty parts are left out of the page.

    `row`: number of each particle in the source table. `presets`: pairs of variables to plot,
    the first is shown first. `scores`: against the truth. `poses`: a section on poses that were
    found, as HTML.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    variables: Sequence[Variable]
    presets: Sequence[tuple[str, str, str]]
    clusters: Clusters
    row: Int[np.ndarray, " n"]
    volumes: Sequence[VolumeCard] = ()
    paths: Sequence[PathCard] = ()
    epochs: Sequence[int] = ()
    curves: dict[str, Float[np.ndarray, " e"]] = field(default_factory=dict)
    fsc: tuple[np.ndarray, dict[str, np.ndarray]] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    folder: str = ""
    poses: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the page in one step."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Compose the page."""
    assets = files("vitreous.analysis") / "assets"
    page = (assets / "report.html").read_text(encoding="utf-8")
    data = json.dumps(_payload(report), separators=(",", ":"), allow_nan=False)
    parts = {
        "title": escape(report.title),
        "subtitle": _subtitle(report),
        "volumes": _volume_section(report),
        "paths": _path_section(report),
        "scores": _score_section(report),
        "poses": report.poses,
        "training": _training_section(report),
        "folder": escape(report.folder),
        "style": (assets / "report.css").read_text(encoding="utf-8"),
        "script": (assets / "report.js").read_text(encoding="utf-8"),
        # A name in the data must not be able to end the script element.
        "data": data.replace("<", "\\u003c"),
    }
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def data_uri(picture: Picture) -> str:
    """Turn a picture into the text that an `img` element shows."""
    return "data:image/webp;base64," + base64.b64encode(encode(picture, "WEBP")).decode()


def _payload(report: Report) -> dict[str, Any]:
    """Collect what the script needs: quantised columns, centres, paths."""
    count = len(report.row)
    shown = np.arange(count)
    # 16 bits a value, four letters for three bytes.
    most = min(MOST_POINTS, int(MOST_BYTES * 3 / 8 / max(len(report.variables), 1)))
    if count > most:
        rng = np.random.default_rng(0)
        keep = [report.clusters.centre_index, *(p.nearest for p in report.paths)]
        extra = rng.permutation(count)[: max(0, most - sum(map(len, keep)))]
        shown = np.unique(np.concatenate([*keep, extra]))
    place = {int(i): k for k, i in enumerate(shown)}
    return {
        "count": count,
        "rows": _base64(report.row[shown].astype("<u4")),
        "variables": [_column(v, shown) for v in report.variables],
        "presets": report.presets,
        "colors": CLUSTER_COLORS,
        "centres": [place[int(i)] for i in report.clusters.centre_index],
        "sizes": report.clusters.sizes.tolist(),
        "paths": [
            {
                "frames": [data_uri(frame) for frame in card.frames],
                "nearest": [place[int(i)] for i in card.nearest],
                "captions": list(card.captions),
            }
            for card in report.paths
        ],
    }


def _column(variable: Variable, shown: np.ndarray) -> dict[str, Any]:
    """Store a variable in 16 bits a particle: more than a screen can tell apart."""
    values = np.asarray(variable.values)[shown]
    if variable.kind == "category":
        codes = np.clip(values, 0, 65535).astype("<u2")
        return {
            "name": variable.name,
            "kind": variable.kind,
            "names": list(variable.names),
            "data": _base64(codes),
        }
    values = np.nan_to_num(values.astype(np.float64))
    low, high = (0.0, 360.0) if variable.kind == "angle" else (values.min(), values.max())
    scaled = np.rint((values - low) / ((high - low) or 1.0) * 65535)
    return {
        "name": variable.name,
        "kind": variable.kind,
        "low": float(low),
        "high": float(high),
        "data": _base64(np.clip(scaled, 0, 65535).astype("<u2")),
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _subtitle(report: Report) -> str:
    facts = dict(report.facts)
    words = [f"epoch {facts['epoch']}"] if "epoch" in facts else []
    words.append(f"{len(report.row):,} particles")
    if "volume" in facts:
        words.append(facts["volume"])
    return " · ".join(escape(word) for word in words)


def _volume_section(report: Report) -> str:
    if not report.volumes:
        return ""
    cards = []
    for i, (card, size) in enumerate(zip(report.volumes, report.clusters.sizes, strict=True)):
        share = 100 * size / max(len(report.row), 1)
        views = "".join(
            f'<img class="view {axis}" src="{data_uri(picture)}" hidden '
            f'alt="Projection of volume {i + 1} along {axis}">'
            for axis, picture in zip("zyx", card.projections, strict=False)
        )
        cards.append(
            f'<button class="card" data-cluster="{i}" type="button">'
            f'<span class="frame"><img class="view surface" src="{data_uri(card.surface)}" '
            f'alt="Shaded surface of volume {i + 1}, {size} particles">{views}</span>'
            f'<span class="caption"><i style="background:{CLUSTER_COLORS[i % 20]}"></i>'
            f"<b>{i + 1}</b><span>{size:,} · {share:.1f} %</span></span></button>"
        )
    return (
        '<section id="volumes"><div class="head"><h2>Volumes at cluster centres</h2>'
        '<div class="segments" id="views" role="group" aria-label="What the cards show">'
        '<button type="button" data-view="surface" aria-pressed="true">Surface</button>'
        '<button type="button" data-view="z" aria-pressed="false">Projection z</button>'
        '<button type="button" data-view="y" aria-pressed="false">y</button>'
        '<button type="button" data-view="x" aria-pressed="false">x</button></div></div>'
        '<p class="note">Teal marks density that only some of these volumes have. One contour '
        "level and one view for all. Choose a card to light up its particles above.</p>"
        f'<div class="gallery">{"".join(cards)}</div></section>'
    )


def _path_section(report: Report) -> str:
    if not report.paths:
        return ""
    players = []
    for i, card in enumerate(report.paths):
        last = len(card.frames) - 1
        players.append(
            f'<figure class="player" data-path="{i}"><div class="frame">'
            f'<img src="{data_uri(card.frames[0])}" alt="{escape(card.title)}: shaded surface '
            f'of the volume at the chosen step"></div><figcaption><b>{escape(card.title)}</b>'
            f'<output>{escape(card.captions[0])}</output></figcaption><div class="transport">'
            '<button type="button" class="play" aria-label="Play or pause">▶</button>'
            f'<input type="range" min="0" max="{last}" value="0" '
            f'aria-label="Step along {escape(card.title)}"></div></figure>'
        )
    return (
        '<section id="paths"><h2>Movies</h2><p class="note">Volumes at the cluster '
        "centres in their order, and along principal components between the 5th and the 95th "
        "percentile. The ring in the landscape is the particle nearest to the frame shown."
        f'</p><div class="players">{"".join(players)}'
        "</div></section>"
    )


def _score_section(report: Report) -> str:
    if not report.scores:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_number(name, value)}</td></tr>'
        for name, value in report.scores.items()
    )
    return (
        '<section id="truth"><h2>Against the truth</h2><p class="note">The particles were '
        "simulated; nothing here was used in training.</p>"
        f'<table class="facts"><tbody>{rows}</tbody></table></section>'
    )


def _number(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if "accuracy" in name else f"{value:.3f}"


def _training_section(report: Report) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in report.facts
    )
    charts = []
    for name, curve in list(report.curves.items())[:4]:
        label = name.replace("_", " ")
        chart = line_chart(
            np.asarray(report.epochs),
            {name: curve},
            "epoch",
            f"{label} over epochs",
            None,
            (),
            True,
        )
        charts.append(f"<figure><figcaption>{escape(label)}</figcaption>{chart}</figure>")
    if report.fsc is not None:
        frequency, curves = report.fsc
        chart = line_chart(
            frequency, curves, "frequency (cycles/pixel)", "Fourier shell correlation",
            (-0.05, 1.05), (0.5, 0.143),
        )  # fmt: skip
        charts.append(f"<figure><figcaption>half-map correlation</figcaption>{chart}</figure>")
    return (
        '<section id="training"><h2>The fit</h2><div class="columns">'
        f'<table class="facts"><tbody>{rows}</tbody></table>'
        f'<div class="charts">{"".join(charts)}</div></div></section>'
    )
