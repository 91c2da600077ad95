"""The pages under test and the fenced blocks they show."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(?P<language>\w+)(?P<about>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Example:
    """A fenced block of a page; `title` names the file that it is."""

    language: str
    title: str | None
    text: str


def examples(page: Path) -> list[Example]:
    found = []
    for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', match["about"])
        found.append(Example(match["language"], title and title[1], match["text"]))
    return found
