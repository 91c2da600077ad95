"""What the page selects is what the command it names selects, and comes back whole."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from dashboard_run import COUNT, command, make_run, opened, told

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.lasso import inside_polygon
from vitreous.analysis.selecting import choose
from vitreous.analysis.selections import load_selection
from vitreous.cli.main import main
from vitreous.particles import read_particles

POLYGON = [[-2.0, -2.1], [2.3, -1.0], [0.2, 0.1], [2.5, 2.0], [-1.5, 2.2]]
RULES = [
    {"all": True},
    {"cluster": [1, 3]},
    {"range": {"column": "defocus", "low": 0.0002, "high": 0.0005}},
    {"range": {"column": "rlnClassNumber", "low": 1, "high": 2}},
    {"range": {"column": "rlnNote", "low": 0, "high": 1}},
    {"range": {"column": "half", "low": 1}},
    {"range": {"column": "energy", "high": 1.5}},
    {"range": {"column": "tilt", "low": 45.5, "high": None}},
    {"lasso": {"x": "umap1", "y": "umap2", "polygon": POLYGON}},
    # Over the places of categories, which the command knows by their names.
    {"lasso": {"x": "cluster", "y": "umap2", "polygon": [[0.5, -9], [2.5, -9], [2.5, 9]]}},
    {"nearest": {"particle": 17, "count": 31}},
    {"indices": [3, 5, 8, 200]},
    {
        "or": [
            {"and": [{"cluster": [2]}, {"not": {"range": {"column": "pc1", "low": 0.25}}}]},
            {"nearest": {"particle": 0, "count": 5}},
        ]
    },
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("selections"))


@pytest.fixture(scope="module")
def client(run):
    with opened(run) as client:
        yield client


def chosen(client, rule):
    answer = client.post("/api/select", json={"rule": rule})
    assert answer.status_code == 200, answer.text
    bits = np.frombuffer(answer.content, np.uint8)
    mask = np.array([bits[i // 8] >> (i % 8) & 1 for i in range(COUNT)], bool)
    assert len(bits) == -(-COUNT // 8)
    assert int(answer.headers["X-Count"]) == mask.sum()
    return mask, command(answer)


def crossings(x, y, polygon):
    """Count, one point and one side at a time, the sides that a ray to the right meets."""
    inside = np.zeros(len(x), bool)
    for i in range(len(x)):
        count = 0
        for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            if (y1 > y[i]) != (y2 > y[i]):
                count += x[i] < (x2 - x1) * (y[i] - y1) / (y2 - y1) + x1
        inside[i] = count % 2
    return inside


@pytest.mark.parametrize("corners", [3, 5, 40])
def test_a_lasso_holds_the_points_inside_it(corners):
    rng = np.random.default_rng(corners)
    x, y = rng.uniform(-1, 1, (2, 300))
    # A random polygon crosses itself many times.
    polygon = rng.uniform(-1, 1, (corners, 2)).tolist()
    np.testing.assert_array_equal(inside_polygon(x, y, polygon), crossings(x, y, polygon))
    assert not inside_polygon(np.full(3, np.nan), np.zeros(3), [(-1, -1), (1, -1), (0, 1)]).any()


def test_every_particle_is_on_one_side_of_a_shared_border():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(-1, 2)
    left = inside_polygon(*grid.T, [(0, 0), (2, 0), (2, 4), (0, 4)])
    right = inside_polygon(*grid.T, [(2, 0), (4, 0), (4, 4), (2, 4)])
    assert not (left & right).any()
    assert ((left | right) == ((grid[:, 0] < 4) & (grid[:, 1] < 4))).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_the_command_named_selects_the_same_particles(client, run, rule):
    mask, words = chosen(client, rule)
    assert 0 < mask.sum() <= COUNT
    program, name, folder, *rest = shlex.split(words)
    assert (program, name, folder) == ("vitreous", "select", str(run))
    where = rest[1] if rest else ""
    rows = choose(Candidates(run), where).rows
    np.testing.assert_array_equal(np.flatnonzero(mask), rows)


def test_columns_are_those_of_the_select_command(client, run):
    about = client.get("/api/run").json()
    assert not about["loading"]
    assert about["warnings"] == []
    assert (about["defaultX"], about["defaultY"], about["clusters"]) == ("umap1", "umap2", 4)
    candidates = Candidates(run)
    columns = {column["name"]: column for column in about["columns"]}
    assert {"pc1", "z3", "umap2", "defocus", "rot", "rlnNote", "energy", "half"} <= set(columns)
    # One optics group tells nothing.
    assert "optics" not in columns
    for name, column in columns.items():
        raw = client.get(f"/api/columns/{name}").content
        truth = candidates.column(name)
        if column["kind"] == "category":
            labels = np.array(column["categories"])[np.frombuffer(raw, "<u2")]
            if name == "stack":
                truth = np.array(candidates.table.stacks)[candidates.table.stack_id]
            expected = [str(int(v)) if not isinstance(v, str) else v for v in truth.tolist()]
            assert labels.tolist() == expected
        else:
            values = np.frombuffer(raw, "<f4")
            np.testing.assert_array_equal(values, truth.astype(np.float32))
            if column["low"] is not None:
                assert (column["low"], column["high"]) == (values.min(), values.max())
    assert "no column" in told(client.get("/api/columns/nothing"))


def test_a_saved_selection_is_one_of_the_command_line(client, run):
    rule = {"and": [{"cluster": [1]}, {"range": {"column": "z1", "low": 0}}]}
    saved = client.put("/api/selections/upper half", json={"rule": rule}).json()
    mask, _ = chosen(client, {"named": "upper half"})
    np.testing.assert_array_equal(mask, chosen(client, rule)[0])
    selection = load_selection(run, "upper half")
    np.testing.assert_array_equal(selection.rows, np.flatnonzero(mask))
    assert selection.total == COUNT
    assert choose(Candidates(run), selection.rule).rows.tolist() == selection.rows.tolist()
    assert [s["name"] for s in client.get("/api/selections").json()] == ["upper half"]
    assert saved["count"] == mask.sum()
    assert client.delete("/api/selections/upper half").status_code == 200
    assert client.get("/api/selections").json() == []
    assert "upper half" in told(client.delete("/api/selections/upper half"))


def test_exports_keep_every_column_and_digit(tmp_path, client, run):
    rule = {"lasso": {"x": "pc1", "y": "pc2", "polygon": POLYGON}}
    mask, _ = chosen(client, rule)
    lines = [line for line in (run.parent / "particles.star").read_text().splitlines()]
    rows = {line.split()[0]: line for line in lines if "@" in line}

    def export(**wanted):
        answer = client.post("/api/selections/export", json={"rule": rule, **wanted})
        assert answer.status_code == 200, answer.text
        return answer.json()

    made = export(name="in", format="star")
    assert made["count"] == mask.sum()
    table = read_particles(made["path"])
    whole = read_particles(run.parent / "particles.star")
    np.testing.assert_array_equal(table.rotation, whole.rotation[mask])
    np.testing.assert_array_equal(table.image_index, whole.image_index[mask])
    assert {s.rsplit("/", 1)[1] for s in table.stacks} <= {"one.mrcs", "two.mrcs"}
    text = [line for line in open_text(made["path"]) if "@" in line]
    kept = list(rows.values())
    for line, number in zip(text, np.flatnonzero(mask), strict=True):
        # Only the name of the stack may change: it must be found from where the file lies.
        assert line.split()[1:] == kept[number].split()[1:]
    rest = export(name="in", format="star", inverse=True)
    assert rest["path"].endswith("in_inverse.star")
    assert made["count"] + rest["count"] == COUNT
    np.testing.assert_array_equal(read_particles(rest["path"]).shift, whole.shift[~mask])
    index = export(name="in", format="index")
    np.testing.assert_array_equal(np.loadtxt(index["path"], dtype=int), np.flatnonzero(mask))
    listed = export(name="in", format="csv")
    text = Path(listed["path"]).read_bytes()
    cells = list(csv.DictReader(text.decode().splitlines()))
    # The command shown writes the same.
    main(shlex.split(listed["command"].replace(listed["path"], str(tmp_path / "again.csv")))[1:])
    assert (tmp_path / "again.csv").read_bytes() == text
    assert [int(c["row"]) for c in cells] == np.flatnonzero(mask).tolist()
    assert [c["rlnNote"] for c in cells] == [f"word{i % 5}" for i in np.flatnonzero(mask)]
    assert "not a .cs file" in told(
        client.post("/api/selections/export", json={"rule": rule, "name": "x", "format": "cs"})
    )


def open_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


@pytest.mark.parametrize(
    "rule, expected",
    [
        ({}, "not a rule"),
        ({"cluster": [1], "all": True}, "not a rule"),
        ({"and": []}, "needs a list"),
        ({"clusters": [1]}, "is not understood; there are and, or"),
        ({"indices": [10**30]}, "the run has 0 to"),
        ({"range": {"low": 1}}, "needs a column"),
        ({"range": {"column": "z1", "low": "a"}}, "numbers as low and high"),
        ({"range": {"column": "q9", "low": 1}}, "no column 'q9'"),
        ({"lasso": {"x": "z1", "y": "z2", "polygon": [[0, 0], [1, 1]]}}, "three corners"),
        ({"lasso": {"x": "z1", "y": "z2", "polygon": [[0, 0], [1, 1], ["a", 2]]}}, "corners"),
        ({"nearest": {"particle": COUNT, "count": 3}}, f"particle {COUNT}"),
        ({"nearest": {"particle": 0, "count": COUNT + 1}}, "k must be"),
        ({"indices": [-1]}, "particle -1"),
        ({"indices": ["a"]}, "whole numbers"),
        ({"named": "nothing"}, "no selection named"),
        ({"not": {"not": {"foo": 1}}}, "'foo'"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_a_line(client, rule, expected):
    assert expected in told(client.post("/api/select", json={"rule": rule}))


def test_a_selection_of_nothing_says_so(client):
    nothing = {"range": {"column": "z1", "low": 1e6}}
    mask, _ = chosen(client, nothing)
    assert not mask.any()
    wanted = {"rule": nothing, "name": "x", "format": "star"}
    for answer in (
        client.post("/api/selections/export", json=wanted),
        client.put("/api/selections/x", json=wanted),
        client.post("/api/regress", json=wanted),
        client.post("/api/poses", json=wanted),
    ):
        assert "empty" in told(answer)
    deep = {"all": True}
    for _ in range(60):
        deep = {"not": deep}
    assert "within a rule" in told(client.post("/api/select", json={"rule": deep}))
