"""What makes a command of a few seconds start and end quickly."""

import contextlib
import gc
import importlib
import os
import threading
from collections.abc import Iterator

# Sums take memory on every device, so not every core of a large machine becomes one.
_MOST_CORES = 8


def share_cores() -> None:
    """Let JAX see the cores as devices: inserting images runs on one core a device.

    Not where several processes share the work, and the cores.
    """
    import jax

    if jax.distributed.is_initialized():
        return

    # Too late where JAX has started already, as in a program that calls commands.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, _MOST_CORES))


def import_meanwhile(*modules: str) -> None:
    """Import what is needed last while images are being worked on."""

    def load() -> None:
        for name in modules:
            importlib.import_module(name)

    threading.Thread(target=load, daemon=True).start()


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Keep the garbage collector from walking through every module as it is loaded.

    A third of a second of the command, of which most is imports.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
