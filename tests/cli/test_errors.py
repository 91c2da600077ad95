"""What the user must mend: one line on standard error, exit status 2, and nothing written."""

import pytest

from vitreous.cli import main as program
from vitreous.cli.main import COMMANDS
from vitreous.errors import InputError, Interrupted

# The shortest command lines that name a file which is not there.
MISSING_FILE = {
    "check": "lost.star",
    "downsample": "lost.star -D 16 -o small.mrcs",
    "parse-pose-star": "lost.star -o poses.pkl",
    "parse-pose-csparc": "lost.cs -o poses.pkl",
    "parse-ctf-star": "lost.star -o ctf.pkl",
    "parse-ctf-csparc": "lost.cs -o ctf.pkl",
    "parse-relion": "-p lost.star -t lost.star -o images.star",
    "backproject-voxel": "lost.star -o maps",
    "fsc": "lost.mrc lost.mrc",
    "align": "lost.mrc lost.mrc -o found.mrc",
    "gen-mask": "lost.mrc mask.mrc",
    "train-subspace": "lost.star -o run",
    "view": "lost.mrc",
    "convert": "lost.star -o found.star",
    "concat": "lost.star lost.star -o found.star",
    "filter": "lost.pkl --first 2 -o found.pkl",
    "filter-star": "lost.star --ind lost.pkl -o found.star",
    "filter-cs": "lost.cs --ind lost.pkl -o found.cs",
    "add-psize": "lost.mrc --Apix 1 -o found.mrc",
    "flip-hand": "lost.mrc -o found.mrc",
    "invert-contrast": "lost.mrc -o found.mrc",
    "phase-flip": "lost.star -o found.mrcs",
    "translate": "lost.mrcs lost.pkl -o found.mrcs",
    "analyze-landscape": "lost",
    "analyze-landscape-full": "lost",
    "analyze-convergence": "lost",
    "benchmark": "lost --truth lost.npz",
    "select": "lost -o found.txt",
    "select-clusters": "lost.pkl --sel 1 -o found.txt",
    "regress": "lost -z 0 -o maps",
    "train-vae": "lost.star -o run",
    "train-dec": "lost.star -o run",
    "train-nn": "lost.star -o run",
    "abinit": "lost.star -o run",
    "eval-images": "lost lost.star -o found",
    "generate-volumes": "lost -o maps",
    "eval-vol": "lost -z 0 -o maps",
    "analyze": "lost",
    "pc-traversal": "lost.pkl",
    "graph-traversal": "lost.pkl --anchors 1 2",
    "direct-traversal": "lost.pkl --anchors 1 2",
    "morph-train": "-i0 lost.mrc -i1 lost.mrc -d flow",
    "morph-predict": "-i lost.mrc -w lost.pt -d frames",
    "dashboard": "lost",
    "simulate": "lost.pdb -D 16 --apix 4 -o simulated",
    "simulate-micrograph": "lost.pdb -D 16 --apix 4 -o simulated",
    "optimize-deformations": "lost.star run",
    "optimize-inverse-deformations": "lost",
    "deformable-backprojection": "lost",
    "compute-rigid-transforms": "lost",
    "compute-masks-for-rigid-transforms": "lost",
    "explore-latent-space": "lost",
    "doctor": "--folder lost",
    "launch": "-n 1 -- lost-program",
    "match-template": "lost.mrc --template lost.mrc -o found",
}


def one_line(err: list[str]) -> str:
    assert len(err) == 1, err
    assert err[0].startswith("vitreous: ")
    return err[0]


def test_every_command_that_reads_files_is_tried():
    assert set(MISSING_FILE) == set(COMMANDS) - {"demo", "select-random", "slurm"}, (
        "name each new command in MISSING_FILE"
    )


@pytest.mark.parametrize("name", MISSING_FILE)
def test_missing_file(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(name, *MISSING_FILE[name].split())
    assert (status, out) == (2, "")
    assert "lost" in one_line(err)
    assert list(tmp_path.iterdir()) == []


def test_unknown_command(run):
    status, out, err = run("train-vea")
    assert (status, out) == (2, "")
    assert "train-vea" in one_line(err)


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_option(run, name):
    status, out, err = run(name, "--no-such-option")
    assert (status, out) == (2, "")
    line = one_line(err)
    assert "--no-such-option" in line
    assert line.endswith(f"see vitreous {name} --help")


def test_missing_argument(run):
    status, _, err = run("train-vae")
    assert status == 2
    assert "particles" in one_line(err)


def test_value_of_the_wrong_kind(run):
    status, _, err = run("gen-mask", "a.mrc", "b.mrc", "--dilate", "wide")
    assert status == 2
    assert "--dilate" in one_line(err)


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        (InputError("a.star: row 3: no such thing"), 2, "vitreous: a.star: row 3: no such thing"),
        (Interrupted("stopped; continue with …"), 0, "vitreous: stopped; continue with …"),
        (KeyboardInterrupt(), 130, "vitreous: stopped by Ctrl-C"),
    ],
)
def test_how_a_command_may_end(run, monkeypatch, raised, status, text):
    def fsc() -> None:
        raise raised

    monkeypatch.setattr(program, "find_command", lambda name: fsc)
    outcome = run("fsc")
    assert outcome.status == status
    assert [line for line in outcome.err if line] == [text]


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def fsc() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "find_command", lambda name: fsc)
    with pytest.raises(ZeroDivisionError):
        program.main(["fsc"])
