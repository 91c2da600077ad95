"""How much memory is free, on the devices and on the host, and what to do when it is not enough."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax

from vitreous.errors import InputError
from vitreous.particles.processes import least_of_processes

logger = logging.getLogger(__name__)

# The rest of the device is for the model, its gradients and the work of a step.
_RESIDENT_SHARE = 0.5
Result = TypeVar("Result")


def free_host_memory() -> int:
    """Return the bytes this process may still take, the limit of its control group included."""
    free = 1 << 62
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            free = min(free, max(int(limit) - used, 0))
    except OSError:
        # Not Linux, or no control group: what was found so far is the best answer.
        pass
    return free


def free_device_memory(devices: Sequence[jax.Device]) -> int:
    """Return the bytes free on all `devices` together; CPU devices share the host's memory.

    Those of other processes count like the ones here.
    """
    total = 0
    own = [device for device in devices if device.process_index == jax.process_index()]
    for device in own:
        stats = device.memory_stats()
        if device.platform == "cpu" or not stats or "bytes_limit" not in stats:
            return free_host_memory()
        total += stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return total * len(devices) // max(len(own), 1)


def fits_devices(size: int, devices: Sequence[jax.Device], alone: bool = False) -> bool:
    """Say whether images of so many bytes may lie on devices, with room left for the work on them.

    **Arguments:** `alone`: by what this process sees; else all processes ask, and decide alike.
    """
    free = free_device_memory(devices)
    return size <= _RESIDENT_SHARE * (free if alone else least_of_processes(free))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory for what was asked of it."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def with_less(work: Callable[[int], Result], size: int, least: int, what: str) -> Result:
    """Do work in chunks of `size`, and from the start in chunks of half that if memory runs out.

    **Arguments:** `work(size)`: must not lose what it was given when it fails. `least`: smallest
    chunk that is tried; sizes stay multiples of it. `what`: the work in words, for the log.

    **Raises:** `InputError` if even the smallest chunk does not fit.
    """
    while True:
        try:
            return work(size)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size <= least:
                raise InputError(
                    f"{what}: the device has too little memory even for chunks of {size}; use "
                    "more devices, or smaller images (vitreous downsample)"
                ) from error
            size = max(least, size // 2 // least * least)
            logger.warning("%s: out of memory, again in chunks of %d", what, size)
