"""Every table of the peers through `select` and back: cell by cell, byte by byte."""

from pathlib import Path

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.particles.star import read_star

INTEROP = "interop"


def run_command(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize(
    "name",
    [
        *("empiar_10076_7", "relion31", "relion31.6opticsgroups", "relion5"),
        *("sta_testing_bin8", "toy_projections", "toy_projections_13"),
    ],
)
def test_any_star_comes_back_cell_by_cell(shared_data, tmp_path, name):
    file, out = shared_data / INTEROP / f"{name}.star", tmp_path / "some.star"
    whole = read_star(file)
    wanted = [0, len(whole.main) // 2]
    rule = f"row in ({wanted[0]}, {wanted[1]})"
    assert run_command("select", file, "--where", rule, "-o", out, "--with-inverse") == 0
    for path, rows in (
        (out, wanted),
        (tmp_path / "some_inverse.star", np.delete(np.arange(len(whole.main)), wanted).tolist()),
    ):
        part = read_star(path)
        assert part.main.columns == whole.main.columns
        for column in whole.main.columns:
            every = whole.main.text(column)
            cells = [every[k] for k in rows]
            if column == "rlnImageName":
                # A stack that is there is named so that it is found from the new folder.
                found = [Path(cell.split("@")[1]).name for cell in part.main.text(column)]
                assert found == [Path(cell.split("@")[1]).name for cell in cells]
                continue
            assert part.main.text(column) == cells, column
        if whole.optics is not None:
            assert part.optics.body == whole.optics.body


@pytest.mark.parametrize("name", ["cryosparc_P12_J24_001_particles.cs", "empiar_10076_7.cs"])
def test_any_cs_comes_back_byte_by_byte(shared_data, tmp_path, name):
    file, out = shared_data / INTEROP / name, tmp_path / "some.cs"
    assert run_command("select", file, "--where", "row in (1, 4)", "-o", out) == 0
    assert np.load(out).tobytes() == np.load(file)[[1, 4]].tobytes()
