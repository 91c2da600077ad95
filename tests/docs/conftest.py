"""The pages under test, and a small particle set for their examples."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from vitreous.simulation import HingeMotion, ParticleOptions, hinge_phantom, simulate_particles

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


@pytest.fixture(scope="session")
def particle_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `particles.star`: 96 images of the hinge in a box of 24 pixels."""
    folder = tmp_path_factory.mktemp("particles")
    specimen = HingeMotion(hinge_phantom(), box=24, pixel_size=8.0)
    simulate_particles(specimen, folder, ParticleOptions(count=96, snr=1.0, max_shift=8.0))
    (folder / "rows.txt").write_text("\n".join(map(str, range(0, 96, 3))) + "\n")
    return folder
