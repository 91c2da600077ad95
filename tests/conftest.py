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


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test files beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared test data in {SHARED}")
    return SHARED
