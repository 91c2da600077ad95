"""The report: whole, alone, honest about what it leaves out, and safe against its own data."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from vitreous.analysis import report as report_module
from vitreous.analysis.clusters import Clusters, cluster
from vitreous.analysis.report import PathCard, Report, VolumeCard, render_report
from vitreous.analysis.svg import line_chart, nice_ticks
from vitreous.analysis.variables import Variable, category

VOID = {"meta", "img", "input", "br", "link", "hr", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Check that elements nest, and collect what they refer to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.data, self.missing_alt = [], [], "", 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[n] for n in ("src", "href") if attributes.get(n)]
        self.missing_alt += tag == "img" and "alt" not in attributes
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", "data"):
            self.data += data


def small_report(n=40, **changes):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 2)).astype(np.float32)
    clusters = cluster(z, 3)
    picture = rng.integers(0, 255, (16, 16, 4), dtype=np.uint8)
    flat = picture[..., 0]
    fields = {
        "title": "a run",
        "facts": [("images", "40"), ("epoch", "3")],
        "variables": [
            Variable("PC1", z[:, 0]),
            Variable("PC2", z[:, 1]),
            Variable("view", np.linspace(0, 350, n).astype(np.float32), "angle"),
            category("cluster", clusters.labels),
        ],
        "presets": [("PCA", "PC1", "PC2")],
        "clusters": clusters,
        "row": np.arange(n) + 1000,
        "volumes": [VolumeCard(picture, [flat] * 3)] * 3,
        "paths": [PathCard("PC 1", [picture, 255 - picture], np.array([0, n - 1]), ["1", "2"])],
        "epochs": [1, 2, 3],
        "curves": {"loss": np.array([3.0, 2, 1])},
        "fsc": (np.arange(8) / 16, {"fsc": np.linspace(1, 0, 8)}),
        "scores": {"state accuracy (15 neighbours)": 0.5, "per-image AUC-FSC, mean": 0.4},
    }
    return Report(**(fields | changes))


def test_the_page_parses_and_needs_nothing_from_outside():
    text = render_report(small_report())
    page = Page(text)
    assert not re.search(r"https?:|//cdn|@import|url\(", text)
    assert page.links
    assert all(link.startswith("data:image/webp;base64,") for link in page.links)
    assert page.missing_alt == 0
    assert "{{" not in text
    assert "50.0 %" in text
    assert "0.400" in text
    for section in ("landscape", "volumes", "paths", "truth", "training"):
        assert f'id="{section}"' in text


def test_columns_come_back_from_the_page():
    report = small_report()
    data = json.loads(Page(render_report(report)).data)
    rows = np.frombuffer(base64.b64decode(data["rows"]), "<u4")
    np.testing.assert_array_equal(rows, report.row)
    for variable, column in zip(report.variables, data["variables"], strict=True):
        codes = np.frombuffer(base64.b64decode(column["data"]), "<u2")
        if variable.kind == "category":
            np.testing.assert_array_equal(codes, variable.values)
            continue
        span = column["high"] - column["low"]
        np.testing.assert_allclose(
            column["low"] + codes / 65535 * span, variable.values, atol=span / 65535
        )
    assert data["centres"] == report.clusters.centre_index.tolist()
    assert len(data["paths"][0]["frames"]) == 2


def test_large_sets_are_thinned_but_keep_what_is_referred_to(monkeypatch):
    monkeypatch.setattr(report_module, "MOST_POINTS", 15)
    report = small_report()
    data = json.loads(Page(render_report(report)).data)
    rows = np.frombuffer(base64.b64decode(data["rows"]), "<u4")
    assert data["count"] == 40
    assert len(rows) <= 15
    np.testing.assert_array_equal(rows[data["centres"]], report.row[report.clusters.centre_index])
    np.testing.assert_array_equal(rows[data["paths"][0]["nearest"]], report.row[[0, 39]])


def test_a_large_set_makes_a_page_of_moderate_size():
    rng = np.random.default_rng(0)
    n = 120_000
    variables = [Variable(f"v{i}", rng.random(n).astype(np.float32)) for i in range(25)]
    codes = np.arange(n) % 2
    clusters = Clusters(codes, np.zeros((2, 2), np.float32), np.array([0, 1]))
    report = small_report(
        variables=[*variables, category("cluster", codes)],
        presets=[("plane", "v0", "v1")],
        clusters=clusters,
        row=np.arange(n),
        volumes=[],
        paths=[],
    )
    assert len(render_report(report)) < 8e6


def test_names_cannot_break_the_page():
    hostile = '</script><img src="http://x" onerror="1">&'
    report = small_report(
        title=hostile,
        facts=[(hostile, hostile)],
        scores={hostile: 1.0},
        curves={hostile: np.ones(3)},
        variables=[*small_report().variables, category(hostile, np.zeros(40, int), (hostile,))],
    )
    text = render_report(report)
    assert '<img src="http' not in text
    assert json.loads(Page(text).data)["variables"][-1]["name"] == hostile


def test_empty_parts_are_left_out():
    text = render_report(
        small_report(volumes=[], paths=[], scores={}, curves={}, epochs=[], fsc=None)
    )
    Page(text)
    for section in ("volumes", "paths", "truth"):
        assert f'<section id="{section}"' not in text


def test_ticks_are_round_and_inside():
    assert nice_ticks(0.0, 1.0) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(-3.0, 47.0) == [0, 10, 20, 30, 40]
    assert nice_ticks(5.0, 5.0) == [5]
    assert all(1e-7 <= t <= 3e-7 for t in nice_ticks(1e-7, 3e-7))


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [1.0, np.nan, 3.0]])
def test_charts_of_awkward_curves(values):
    chart = line_chart(np.arange(len(values)), {"a": np.array(values)}, "x", "t", None, (), True)
    assert "nan" not in chart
    assert chart.startswith("<svg")
