"""Hyphens and underscores are the same, in commands and in long options."""

import pytest

from vitreous.cli.main import COMMANDS, with_hyphens


@pytest.mark.parametrize("name", [name for name in COMMANDS if "-" in name])
def test_commands(run, name):
    assert run(name.replace("-", "_"), "--help") == run(name, "--help")


def test_a_peers_name(run):
    assert run("parse_pose_cs", "--help") == run("parse-pose-csparc", "--help")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--enc_dim", "--enc-dim"),
        ("--enc_dim=8", "--enc-dim=8"),
        ("--outdir=my_run", "--outdir=my_run"),
        ("my_run", "my_run"),
        ("-n", "-n"),
        ("--", "--"),
    ],
)
def test_options_but_no_values(given, meant):
    assert with_hyphens(given) == meant


def test_both_spellings_parse_alike(parse):
    words = ["train-vae", "my_particles.star", "-o", "my_run", "--enc-dim", "64", "--pe-type=none"]
    other = [word.replace("-", "_") if word[:2] == "--" else word for word in words]
    other = [word.replace("__", "--", 1) for word in other]
    assert parse(["train_vae", *other[1:]]) == parse(words)
    assert str(parse(words)["outdir"]) == "my_run"
