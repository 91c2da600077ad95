"""The site builds without a warning, is complete, and fetches nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

from vitreous.cli.main import COMMANDS

# What a browser would load on its own; links that a reader may follow are free.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon)\b[^>]*//"""
    r"""|@import|url\(["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_there(site):
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    for page in pages:
        place = page.parent if page.stem == "index" else page.with_suffix("")
        assert (site / place / "index.html").is_file(), page


def test_nothing_else_is_published(site):
    assert not (site / "hooks").exists()


def test_commands_are_described(site):
    text = (site / "commands" / "index.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'id="{name}"' in text


def test_the_python_reference_is_filled(site):
    for room, name in [
        ("geometry", "vitreous.geometry.rotations.euler_to_matrix"),
        ("particles", "vitreous.particles.read.read_particles"),
        ("training", "vitreous.training.run.Run.open"),
        ("methods", "vitreous.methods.latent.fit.train"),
    ]:
        assert f'id="{name}"' in (site / "api" / room / "index.html").read_text(encoding="utf-8")


def test_no_page_loads_from_elsewhere(site):
    for page in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = _LOADED.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.relative_to(site)}: {found}"
