"""The program answers at once: nothing heavy is imported before a command needs it."""

import subprocess
import sys
import time

import pytest

from vitreous.cli.main import COMMANDS

# The aim is 0.5 s on a quiet machine. Twice that still tells a stray import of JAX (above 1.5 s)
# from a busy machine, whose best of several runs comes close to the quiet one.
LIMIT = 1.0
HEAVY = ("jax", "scipy", "pandas", "matplotlib", "sklearn", "umap", "plotly", "equinox")


def best_time(*arguments: str, runs: int = 4) -> float:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_import_is_quick():
    assert best_time("-c", "import vitreous") < LIMIT


def test_help_is_quick():
    assert best_time("-m", "vitreous.cli.main", "--help") < LIMIT


@pytest.mark.parametrize("module", sorted({module for module, _, _ in COMMANDS.values()}))
def test_help_of_a_command_imports_nothing_heavy(module):
    code = (
        f"import sys; from vitreous.cli import {module}; "
        f"print(*(package for package in {HEAVY} if package in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
