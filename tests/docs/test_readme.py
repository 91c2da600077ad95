"""What README and citation say agrees with the program."""

import re

import yaml
from pages import ROOT

from vitreous import __version__
from vitreous.cli.main import COMMANDS


def test_the_table_of_commands_is_the_programs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", text, re.M))
    assert rows == {name: summary for name, (_, _, summary) in COMMANDS.items()}


def test_files_it_points_to_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (ROOT / target).exists(), target


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == "BSD-3-Clause"
