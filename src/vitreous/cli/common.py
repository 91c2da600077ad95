"""What commands share before they start their work."""

import gc
import shlex
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of compiled code."""
    return Path.home() / ".cache" / "vitreous" / "jax"


def start_jax() -> None:
    """Turn on JAX's persistent compilation cache (`~/.cache/vitreous/jax`).

    The second run of a command skips most of its compile time. Garbage is collected rarely:
    what importing and tracing make stays to the end, and looking through it over and over costs
    a short command a twentieth of its time.
    """
    gc.set_threshold(100_000, 50, 100)
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def resume_command() -> str:
    """Word the command that goes on with this one."""
    words = [word for word in ("vitreous", *sys.argv[1:]) if word != "--overwrite"]
    if "--resume" not in words and "--load" not in words:
        words.append("--resume")
    return shlex.join(words)
