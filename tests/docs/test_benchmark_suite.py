"""The suite of benchmarks names programs that exist, and compares like with like."""

import sys

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from compare import changes, file_for, last_recorded
from suite import PROGRAMS, chosen

NO_PROGRAMS = {"__main__", "scaling_model", "suite"}


def test_every_program_takes_what_it_is_given():
    for program in PROGRAMS:
        text = (ROOT / "benchmarks" / f"{program.name}.py").read_text(encoding="utf-8")
        given = [*program.words, *(program.quick or ()), *(program.gpu or ()), program.output]
        for word in given:
            if word.startswith("-"):
                assert f'"{word}"' in text, f"{program.name} knows no {word}"


def test_a_program_that_nobody_named_is_run_all_the_same():
    names = {program.name for program in chosen([], "hours")}
    for path in (ROOT / "benchmarks").glob("*.py"):
        is_program = '__name__ == "__main__"' in path.read_text(encoding="utf-8")
        assert path.stem in names or not is_program or path.stem in NO_PROGRAMS, path


def test_choosing():
    assert {program.cost for program in chosen([], "seconds")} == {"seconds"}
    assert [program.name for program in chosen(["morph"], "seconds")] == ["morph"]
    with pytest.raises(SystemExit, match="no benchmark lost"):
        chosen(["lost"], "hours")


def result(device: str, seconds: float, rate: float) -> dict:
    about = {"cpu": "a", "cores": 2, "device": device, "commit": "1"}
    return {"machine": about, "rows": [{"what": "fit", "seconds": seconds, "images/s": rate}]}


def test_what_moved_is_said_to_be_better_or_worse():
    rows = changes(result("cpu", 13.0, 130.0), result("cpu", 10.0, 100.0))
    assert [(row[""], row["figure"]) for row in rows] == [
        ("worse", "rows · fit · seconds"),
        ("better", "rows · fit · images/s"),
    ]
    assert changes(result("cpu", 11.0, 95.0), result("cpu", 10.0, 100.0)) == []


def test_machines_of_another_kind_have_files_of_their_own(tmp_path):
    (tmp_path / "fit.json").write_text('{"machine": {"cpu": "a", "cores": 2, "device": "cpu"}}')
    assert file_for(tmp_path, "fit", result("cpu", 1, 1)) == tmp_path / "fit.json"
    other = result("gpu: NVIDIA H200", 1, 1)
    assert file_for(tmp_path, "fit", other).name == "fit.nvidia-h200-2-cores.json"
    assert last_recorded(tmp_path, "fit", other) is None
