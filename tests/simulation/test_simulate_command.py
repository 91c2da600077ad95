"""The command: files in, a set out, and status 2 with one line for what cannot work."""

from pathlib import Path

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.metrics.truth import read_truth
from vitreous.particles import read_particles

PDB = """\
ATOM      1  CA  GLY A   1       0.000   0.000   0.000  1.00 80.00           C
ATOM      2  CA  GLY A   2      14.000   0.000   4.000  1.00 80.00           C
END
"""


def run(*words: str | Path) -> int:
    try:
        main(["simulate", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_structures_maps_and_given_poses(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.pdb").write_text(PDB)
    first = tmp_path / "first"
    assert run(tmp_path / "a.pdb", "-D", "16", "--apix", "4", "-n", "10", "-o", first) == 0
    assert "10 particles of 16², 4 Å/px" in capsys.readouterr().out
    table = read_particles(first / "particles.star")
    assert len(table) == 10
    second = tmp_path / "second"
    volume = first / "volumes" / "vol_000.mrc"
    star = first / "particles.star"
    assert run(volume, volume, "--poses", star, "--kernel", "linear", "-o", second) == 0
    again = read_particles(second / "particles.star")
    np.testing.assert_allclose(again.rotation, table.rotation, atol=1e-5)
    np.testing.assert_allclose(again.ctf.defocus_u, table.ctf.defocus_u)
    assert set(read_truth(second / "truth.npz").labels) == {0, 1}


def test_the_hinge(tmp_path: Path) -> None:
    words = ["-D", "16", "--apix", "13", "-n", "8", "--states", "2", "--no-ctf", "--no-noise"]
    assert run("--phantom", "hinge", *words, "--angles", "-5", "40", "-o", tmp_path / "set") == 0
    truth = read_truth(tmp_path / "set" / "truth.npz")
    assert truth.coordinate.min() >= -5
    assert truth.coordinate.max() <= 40
    assert read_particles(tmp_path / "set" / "particles.star").ctf is None
    assert run("--phantom", "hinge", *words, "-o", tmp_path / "set") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of them"),
        (["--phantom", "hinge", "a.pdb"], "one of them"),
        (["missing.pdb", "-D", "16", "--apix", "3"], "no such file"),
        (["--phantom", "hinge", "--snr", "-2"], "must be positive"),
        (["--phantom", "hinge", "--defocus", "20000", "10000"], "lower value first"),
    ],
)
def test_bad_requests(
    words: list, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(*words, "-o", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
