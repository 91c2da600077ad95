"""Every test runs with checked array shapes, strict dtypes and warnings as errors."""

import gc
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything imports vitreous: annotations become run-time checks.
install_import_hook("vitreous", "beartype.beartype")

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

from vitreous.cli.common import start_jax  # noqa: E402

start_jax()

# Every compiled function keeps pieces of memory mapped, and Linux gives a process 65,530 of them;
# beyond that XLA dies. A worker of the suite lets go of them long before.
_MAPPED = 25_000


@pytest.fixture(autouse=True, scope="module")
def _few_compiled_functions():
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MAPPED:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first in each half of the list, where two workers begin.

    A worker that has run out of tests takes some from the end of another's. Were those of a slow
    file, both would prepare what its tests share.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    slow = [group for group in groups if any(item.get_closest_marker("slow") for item in group)]
    fast = [item for group in groups if group not in slow for item in group]
    halves = [[item for group in slow[half::2] for item in group] for half in range(2)]
    middle = max(0, len(items) // 2 - len(halves[0]))
    items[:] = [*halves[0], *fast[:middle], *halves[1], *fast[middle:]]


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test files beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared test data in {SHARED}")
    return SHARED
