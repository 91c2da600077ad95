"""How much memory is free, on the devices and on the host."""

from collections.abc import Sequence
from pathlib import Path

import jax


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
