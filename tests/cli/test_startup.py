"""The program answers at once: nothing heavy is imported before a command needs it."""

import subprocess
import sys
import time

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


def test_help_of_commands_imports_nothing_heavy():
    """In one process, one after the other: what a module imports shows beside its name."""
    modules = sorted({module for module, _, _ in COMMANDS.values()})
    code = (
        f"import importlib, sys; seen = set()\n"
        f"for name in {modules}:\n"
        f"    importlib.import_module('vitreous.cli.' + name)\n"
        f"    found = {{p for p in {HEAVY} if p in sys.modules}} - seen\n"
        f"    seen |= found\n"
        f"    print(*(f'{{name}}: {{p}}' for p in found), sep='\\n', end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == []
