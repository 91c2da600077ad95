"""Every command line that README and documentation show is valid."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_lines() -> list:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("vitreous "):
                    found.append(pytest.param(line, id=f"{page.name}: {line[:50]}"))
    return found


@pytest.mark.parametrize("line", shown_lines())
def test_line_parses(line, parse):
    words = shlex.split(line, comments=True)[1:]
    if words not in (["--help"], ["--version"]) and words[1:] != ["--help"]:
        parse(words)
