"""Selections: rules against NumPy, chains that keep the numbers of the file, and the way back."""

import json

import numpy as np
import pytest
from toy_landscape import toy_run

from vitreous.analysis.candidates import Candidates
from vitreous.analysis.outliers import outlier_score
from vitreous.analysis.selecting import choose, others, parent_table, write_selection
from vitreous.analysis.selections import load_selection, save_selection, saved_selections
from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.geometry.rotations import euler_to_matrix
from vitreous.particles import read_index, read_particles, save_index_pickle
from vitreous.particles.star import read_star

INTEROP = "interop"
GROUPS = "relion31.6opticsgroups.star"
P12 = "cryosparc_P12_J24_001_particles.cs"


def run_command(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def run_of(tmp_path, monkeypatch, shared_data):
    """Make a run folder of a particle file, or of a selection of it."""

    def make(file, count, name="run", ind=None):
        run = toy_run(tmp_path / name, monkeypatch, count=count)
        arguments = {"path": str(shared_data / INTEROP / file)}
        if ind is not None:
            arguments["ind"] = str(ind)
        run.update_config(particles=arguments, images=count)
        folder = run.path / "analyze.4" / "kmeans4"
        folder.mkdir(parents=True)
        np.save(folder / "labels.npy", np.arange(count) % 4)
        return run

    return make


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("z1 > 0.5", lambda c: c["z"] > 0.5),
        ("-1 <= z1 < 0.25", lambda c: (c["z"] >= -1) & (c["z"] < 0.25)),
        ("cluster in (1, 3)", lambda c: np.isin(c["label"], (0, 2))),
        ("cluster not in (1, 3)", lambda c: ~np.isin(c["label"], (0, 2))),
        ("not cluster == 2", lambda c: c["label"] != 1),
        (
            "cluster == 1 and (z1 < 0 or optics == 2)",
            lambda c: (c["label"] == 0) & ((c["z"] < 0) | (c["optics"] == 1)),
        ),
        ("rlnDefocusU > 12000", lambda c: c["u"] > 12000),
        ('"_rlnDefocusU" > 12000', lambda c: c["u"] > 12000),
        ("row < 7", lambda c: np.arange(139) < 7),
        ("rlnOpticsGroupName == 'opticsGroup3'", lambda c: c["optics"] == 1),
        ("rlnImagePixelSize == 1.24", lambda c: c["size"] == 1.24),
    ],
)
def test_rules_choose_what_numpy_does(run_of, rule, expected):
    candidates = Candidates(run_of(GROUPS, 139).path)
    table = candidates.table
    known = {
        "z": candidates.z[:, 0],
        "label": np.arange(139) % 4,
        "optics": table.optics_group,
        "u": table.ctf.defocus_u,
        "size": table.pixel_size,
    }
    chosen = choose(candidates, rule)
    np.testing.assert_array_equal(chosen.rows, np.flatnonzero(expected(known)))
    rest = others(candidates, chosen)
    np.testing.assert_array_equal(np.union1d(chosen.rows, rest.rows), np.arange(139))
    np.testing.assert_array_equal(choose(candidates, rule, inverse=True).rows, rest.rows)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nosuch: no such run folder or particle file"):
        Candidates(tmp_path / "nosuch")


def test_the_nearest_are_nearest(run_of):
    candidates = Candidates(run_of(GROUPS, 139).path)
    distance = np.linalg.norm(candidates.z - candidates.z[20], axis=1)
    chosen = choose(candidates, "near(20, k=9)").rows
    np.testing.assert_array_equal(chosen, np.sort(np.argsort(distance)[:9]))
    assert 20 in chosen


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("z9 > 1", "z1 to z3"),
        ("flux > 1", "no column 'flux'; there are row, z1"),
        ("cluster in (9,)", "chooses none of the 139"),
        ("__import__('os')", "is not understood"),
        ("z1.__class__ == 1", "is not understood"),
        ("z1 > 'a'", "column of numbers"),
        ("z1 >", "invalid syntax"),
        ("near(500, k=3)", "row 500 is no particle"),
        ("saved('x')", "no selection named 'x'"),
        ("z1 + 1 > 2", "is not understood"),
        ("cluster in {[1]}", "is not understood"),
    ],
)
def test_bad_rules_say_what_is_wrong(run_of, rule, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        choose(Candidates(run_of(GROUPS, 139).path), rule)


def test_a_chain_of_selections_keeps_the_numbers_of_the_file(run_of, tmp_path, shared_data):
    first = Candidates(run_of(GROUPS, 139).path)
    chosen = choose(first, "z1 > -1 and cluster != 4", name="moving")
    save_selection(first.run.path, chosen)
    write_selection(chosen, tmp_path / "rows.pkl", None)
    second = Candidates(run_of(GROUPS, len(chosen), "second", tmp_path / "rows.pkl").path)
    np.testing.assert_array_equal(second.rows, chosen.rows)
    again = choose(second, "z1 > 1")
    np.testing.assert_array_equal(again.rows, chosen.rows[second.z[:, 0] > 1])
    write_selection(again, tmp_path / "third.star", parent_table(second))
    whole = read_star(shared_data / INTEROP / GROUPS)
    written = read_star(tmp_path / "third.star")
    assert written.optics.body == whole.optics.body
    assert written.main.columns == whole.main.columns
    for name in whole.main.columns:
        expected = np.array(whole.main.text(name))[again.rows].tolist()
        if name == "rlnImageName":
            # No stack is there: names stay as they are.
            assert written.main.text(name) == expected
        assert written.main.text(name) == expected
    assert load_selection(first.run.path, "moving").rule == chosen.rule
    assert saved_selections(first.run.path) == ["moving"]
    np.testing.assert_array_equal(choose(first, "saved('moving')").rows, chosen.rows)


def test_cryosparc_gets_its_uids_back(run_of, tmp_path, shared_data):
    run = run_of(P12, 2019)
    words = ["select", run.path, "--range", "z1:0:", "--range", "ctf/df1_A::12000", "-o"]
    outputs = [tmp_path / "a.cs", tmp_path / "a.txt"]
    assert run_command(*words, *outputs, "--with-inverse", "--save", "thin ice") == 0
    whole, part = np.load(shared_data / INTEROP / P12), np.load(tmp_path / "a.cs")
    rows = read_index(tmp_path / "a.txt")
    assert part.dtype == whole.dtype
    assert part.tobytes() == whole[rows].tobytes()
    expected = (Candidates(run.path).z[:, 0] >= 0) & (whole["ctf/df1_A"] <= 12000)
    np.testing.assert_array_equal(rows, np.flatnonzero(expected))
    rest = np.load(tmp_path / "a_inverse.cs")
    assert sorted([*part["uid"], *rest["uid"]]) == sorted(whole["uid"])
    saved = json.loads((run.path / "selections" / "thin ice.json").read_text())
    assert saved["rows"] == rows.tolist()
    assert saved["total"] == 2019


def test_tilt_series_are_chosen_by_particle(run_of, tmp_path):
    run = run_of("sta_testing_bin8.star", 6)
    run.update_config(images=219, latents_of="particles")
    words = ["select", run.path, "--cluster", 2, "-o", tmp_path / "t.star", tmp_path / "t.npy"]
    assert run_command(*words) == 0
    assert np.load(tmp_path / "t.npy").tolist() == [1, 5]
    whole, part = run.table(), read_particles(tmp_path / "t.star")
    assert len(part) == np.isin(whole.particle, (1, 5)).sum()


def test_a_parent_at_full_size_takes_the_rows(run_of, tmp_path, shared_data):
    file = shared_data / INTEROP / GROUPS
    original = read_particles(file)
    original.replace(box=original.box * 2, pixel_size=original.pixel_size / 2).to_star(
        tmp_path / "original.star"
    )
    candidates = Candidates(run_of(GROUPS, 139).path)
    table = parent_table(candidates, tmp_path / "original.star")
    write_selection(choose(candidates, "cluster == 1"), tmp_path / "o.star", table)
    assert set(read_particles(tmp_path / "o.star").pixel_size.tolist()) == {0.62, 0.625}
    with pytest.raises(InputError, match="not its parent"):
        parent_table(candidates, shared_data / INTEROP / "relion5.star")
    original.select(np.arange(139)[::-1]).to_star(tmp_path / "reversed.star")
    with pytest.raises(InputError, match="another defocus"):
        parent_table(candidates, tmp_path / "reversed.star")


def test_poses_that_a_run_found_go_into_the_table(run_of, tmp_path):
    save_index_pickle(tmp_path / "rows.pkl", np.arange(20, 70))
    run = run_of(GROUPS, 50, ind=tmp_path / "rows.pkl")
    rotation = euler_to_matrix(np.random.default_rng(0).uniform(0, 90, (50, 3)))
    np.savez(run.path / "poses.npz", rotation=rotation.astype("f4"), shift=np.ones((50, 2), "f4"))
    plain, found = tmp_path / "plain.star", tmp_path / "found.star"
    assert run_command("select", run.path, "--where", "row >= 60", "-o", plain) == 0
    words = ["select", run.path, "--where", "row >= 60", "--with-poses", "-o", found]
    assert run_command(*words) == 0
    whole = read_particles(run.particle_arguments()["path"])
    np.testing.assert_array_equal(read_particles(plain).rotation, whole.rotation[60:70])
    np.testing.assert_allclose(read_particles(found).rotation, rotation[40:], atol=1e-6)
    np.testing.assert_allclose(read_particles(found).shift, 1.0, atol=1e-6)


def test_bad_commands_are_one_line(run_of, tmp_path, capsys):
    run = run_of(GROUPS, 139)
    for words, message in (
        (["--where", "z1 > 99", "-o", tmp_path / "a.star"], "chooses none"),
        (["-o", tmp_path / "a.doc"], "is written as .star"),
        (["--range", "z1"], "COLUMN:LOW:HIGH"),
        (["--nearest", "5"], "ROW:K"),
        (["--save", "../x"], "a name has letters"),
        (["--cluster", 1, "-k", 7], "no kmeans7"),
    ):
        capsys.readouterr()
        assert run_command("select", run.path, *words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert message in lines[0]
    assert not (tmp_path / "a.star").exists()


def test_a_particle_file_alone_can_be_selected_from(tmp_path, shared_data):
    file = shared_data / INTEROP / GROUPS
    assert run_command("select", file, "--range", "defocus:1.2:", "-o", tmp_path / "d.star") == 0
    table = read_particles(file)
    defocus = (table.ctf.defocus_u + table.ctf.defocus_v) / 2e4
    assert len(read_particles(tmp_path / "d.star")) == np.sum(defocus >= 1.2)


def test_clusters_and_random_rows_of_the_peer(tmp_path):
    labels, parent = np.array([0, 2, 1, 2, 0]), np.array([3, 4, 10, 11, 40])
    save_index_pickle(tmp_path / "labels.pkl", labels)
    save_index_pickle(tmp_path / "parent.pkl", parent)
    words = ["select_clusters", tmp_path / "labels.pkl", "--sel", 0, 1, "-o", tmp_path / "i.pkl"]
    assert run_command(*words) == 0
    assert read_index(tmp_path / "i.pkl").tolist() == [0, 2, 4]
    words += ["--parent-ind", tmp_path / "parent.pkl", "--N-orig", 50]
    assert run_command(*words) == 0
    assert read_index(tmp_path / "i.pkl").tolist() == [3, 10, 40]
    one, two = tmp_path / "r.pkl", tmp_path / "s.txt"
    assert run_command("select_random", 100, "-o", one, "--frac", 0.3, "-s", two) == 0
    both = np.concatenate([read_index(one), read_index(two)])
    assert len(read_index(one)) == 30
    assert sorted(both.tolist()) == list(range(100))
    assert run_command("select-random", 10, "-o", one, "-n", 11) == 2


def test_the_far_point_is_the_outlier():
    rng = np.random.default_rng(0)
    # Two crowds of different density: a distance alone would call the sparse one outlying.
    z = np.concatenate([0.05 * rng.normal(size=(300, 3)), 4 + rng.normal(size=(300, 3))])
    z = np.concatenate([z, [[1.5, 0, 0]]]).astype(np.float32)
    score = outlier_score(z)
    assert np.argmax(score) == 600
    assert abs(np.median(score[:300]) - np.median(score[300:600])) < 0.05
    assert np.isfinite(outlier_score(np.zeros((30, 2), np.float32))).all()


def test_filter_of_a_run_opens_the_page(run_of, monkeypatch, capsys):
    run, opened = run_of(GROUPS, 139), []
    monkeypatch.setattr(
        "vitreous.dashboard.serve.serve", lambda session, *_: opened.append(session)
    )
    assert run_command("filter", run.path, "-e", 4, "-k", 4) == 0
    assert opened[0].run.path == run.path
    assert run_command("filter", run.path, "--sel-dir", "elsewhere") == 2
    assert "selections are kept in" in capsys.readouterr().err
    assert run_command("filter", run.particle_arguments()["path"], "--first", 3) == 2
    assert "-o" in capsys.readouterr().err


def test_a_file_whose_ctf_came_from_elsewhere_keeps_its_cells(run_of, tmp_path, shared_data):
    file = "FinalRefinement-OriginalParticles-PfCRT.star"
    run, out = run_of(file, 5), tmp_path / "some.star"
    given = {"box": 300, "pixel_size": 1.035, "ctf": str(shared_data / INTEROP / "ctf1.pkl")}
    run.update_config(particles={**run.particle_arguments(), **given})
    assert run_command("select", run.path, "--where", "row in (0, 3)", "-o", out) == 0
    whole, part = read_star(shared_data / INTEROP / file), read_star(out)
    assert part.main.columns == whole.main.columns
    lines = whole.main.lines()
    assert part.main.lines() == [lines[0], lines[3]]
