"""The commands from the words typed to files, exit codes and one clear line."""

import numpy as np
import pytest
from toy_landscape import toy_run, toy_volume

from vitreous.analysis.decoders import open_decoder
from vitreous.cli.analysis import analyze, eval_vol
from vitreous.cli.lists import spread_lists
from vitreous.cli.main import main
from vitreous.cli.traversals import graph_traversal, pc_traversal
from vitreous.errors import InputError
from vitreous.maps import read_map


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return toy_run(tmp_path / "run", monkeypatch)


def fails(capsys, *words):
    """Run a command that must exit with status 2, and return its line."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def succeeds(*words):
    main(list(map(str, words)))


def test_lists_are_spread_and_nothing_else():
    typed = "graph-traversal z.pkl --anchors 1 2 a.txt -o out --verbose"
    meant = "graph-traversal z.pkl --anchors 1 --anchors 2 --anchors a.txt -o out --verbose"
    assert spread_lists(typed.split(), graph_traversal) == meant.split()
    typed = "eval-vol w -z -0.5 1e-3 --flip -o x"
    meant = "eval-vol w -z -0.5 -z 1e-3 --flip -o x"
    assert spread_lists(typed.split(), eval_vol) == meant.split()
    assert spread_lists(["analyze", "run", "-1"], analyze) == ["analyze", "run", "last"]
    # A pair is Click's own affair.
    words = ["pc-traversal", "z", "--lim", "5", "95", "--pc", "1"]
    assert spread_lists(words, pc_traversal) == words


def test_eval_vol_writes_what_was_asked(run, tmp_path):
    succeeds("eval-vol", run.path, "-o", "one.mrc", "-z", "-1.5", "0", "0.5")
    np.testing.assert_allclose(read_map("one.mrc").data, toy_volume([-1.5, 0]), atol=1e-6)
    succeeds(
        "eval_vol", run.path, "-o", "way", "--z-start", "-1", "0", "0", "--z_end", "1", "0", "0",
        "-n", "3", "--Apix", "3", "--prefix", "map", "--vol-start-index", "0", "-d", "12",
    )  # fmt: skip
    assert [p.name for p in sorted((tmp_path / "way").glob("*.mrc"))] == [
        "map000.mrc",
        "map001.mrc",
        "map002.mrc",
    ]
    assert read_map("way/map000.mrc").voxel_size == pytest.approx(6.0)
    np.testing.assert_allclose(np.loadtxt("way/z_values.txt")[:, 0], [-1, 0, 1])
    succeeds("eval-vol", run.path / "checkpoints", "-o", "again", "--zfile", "way/z_values.txt")
    assert len(list((tmp_path / "again").glob("vol_*.mrc"))) == 3


def test_eval_vol_refuses_in_one_line(run, capsys):
    path = run.path
    for words, message in [
        (("nowhere", "-o", "x", "-z", "1"), "nowhere: no such file"),
        ((path, "-o", "x"), "say where to decode"),
        ((path, "-o", "x", "-z", "1", "2"), "has 3 dimensions, 2 numbers were given"),
        ((path, "-o", "x", "-z", "1", "2", "3", "--zfile", "z.txt"), "say where to decode"),
        ((path, "-o", "x", "--z-start", "1", "2", "3"), "go together"),
        ((path, "-o", "x", "--zfile", "missing.txt"), "missing.txt: no such file"),
        ((path, "-o", "x", "-z", "1", "2", "3", "--epoch", "9"), "no checkpoint of epoch 9"),
        ((path, "-o", "x", "-z", "1", "2", "3", "-d", "50"), "--downsample 50"),
        ((path, "-o", "x", "-z", "1", "2", "3", "--Apix", "0"), "--Apix"),
        ((path, "-o", "x.mrc", "--zfile", path / "latents.npz"), "do not fit one file"),
    ]:
        line = fails(capsys, "eval-vol", *words)
        assert message in line
        assert len(line.strip().splitlines()) == 1


def test_eval_vol_decodes_weights_of_the_peer(shared_data, tmp_path, capsys):
    weights, config = (shared_data / "interop" / f"het_{n}" for n in ("weights.pkl", "config.yaml"))
    words = ("eval-vol", weights, "-c", config, "-o", tmp_path / "v.mrc", "-z", *[0] * 8)
    succeeds(*words, "--Apix", "3.5")
    volume = read_map(tmp_path / "v.mrc")
    # Figures of cryoDRGN's own eval_vol on these files.
    assert volume.data.mean() == pytest.approx(-0.0016727, abs=1e-6)
    assert volume.data.std() == pytest.approx(0.0643445, abs=1e-5)
    assert volume.data[20, 30, 40] == pytest.approx(-0.0637242, abs=1e-5)
    assert volume.voxel_size == 3.5
    assert "--Apix" in fails(capsys, *words)


def test_what_is_neither_run_nor_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="no vitreous run"):
        open_decoder(tmp_path)
    (tmp_path / "weights.pkl").touch()
    with pytest.raises(InputError, match=r"config\.yaml"):
        open_decoder(tmp_path / "weights.pkl")


def test_analyze_from_the_command_line(run, capsys):
    succeeds("analyze", run.path, "-1", "--skip-umap", "--skip-vol", "--ksample", "3")
    out = capsys.readouterr()
    assert str(run.path / "analyze.4" / "report.html") in out.out
    assert "no checkpoint of epoch 7" in fails(capsys, "analyze", run.path, "7")
    assert "give a number" in fails(capsys, "analyze", run.path, "seven")
    assert "no run folder" in fails(capsys, "analyze", run.path.parent)
    assert "truth.npz" in fails(capsys, "analyze", run.path, "--truth", "truth.npz")


def test_traversals_write_paths_that_eval_vol_reads(run, capsys, tmp_path):
    z = run.latents().mean
    succeeds("pc-traversal", run.path, "--pc", "1", "2", "-n", "4", "-o", "paths")
    path = np.loadtxt("paths/pc1.txt")
    assert path.shape == (4, 3)
    assert np.ptp(path[:, 0]) > 3
    assert (tmp_path / "paths" / "pc2.txt").exists()
    np.save("rows.npy", z)
    (tmp_path / "anchors.txt").write_text("100\n")
    succeeds("direct-traversal", "rows.npy", "--anchors", "5", "anchors.txt", "-n", "3")
    printed = np.array([line.split() for line in capsys.readouterr().out.splitlines()[-3:]], float)
    np.testing.assert_allclose(printed, [z[5], (z[5] + z[100]) / 2, z[100]], rtol=1e-4)
    succeeds(
        "graph-traversal", "run/latents.4.npz", "--anchors", "0", "119", "--max-neighbors", "20",
        "--avg-neighbors", "12", "--outtxt", "g.txt", "--outind", "i.txt", "--verbose",
    )  # fmt: skip
    index = np.loadtxt("i.txt", dtype=int)
    assert index[0] == 0
    assert index[-1] == 119
    np.testing.assert_allclose(np.loadtxt("g.txt"), z[index], rtol=1e-6)
    line = fails(
        capsys, "graph-traversal", run.path, "--anchors", "0", "119", "--avg-neighbors", "1"
    )
    assert "no path from 0 to 119" in line
    assert "rows 0 to 119" in fails(capsys, "graph-traversal", run.path, "--anchors", "0", "120")
    assert "components 1 to 3" in fails(capsys, "pc-traversal", run.path, "--pc", "4")
    assert "neither a row" in fails(capsys, "direct-traversal", run.path, "--anchors", "0", "x")
    (tmp_path / "empty.txt").touch()
    assert "empty.txt" in fails(capsys, "pc-traversal", "empty.txt")
