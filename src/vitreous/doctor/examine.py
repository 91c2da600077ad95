"""The whole examination, thing by thing, as each is found."""

from collections.abc import Iterator
from pathlib import Path

from vitreous.doctor.findings import Finding


def examine(
    folder: Path, cache: Path, *, seconds: float = 10.0, disk_bytes: int = 256 << 20
) -> Iterator[Finding]:
    """Look at devices, driver, precision, memory, disk, programs, compiled code and peers.

    **Arguments:** `folder`: whose disk is measured, with a file of `disk_bytes`. `cache`: of
    compiled code. `seconds`: of the benchmark of products and copies; 0 leaves it out.
    """
    import jax

    from vitreous.doctor import devices, host
    from vitreous.doctor.peers import check_peers

    yield devices.check_devices()
    yield host.check_driver(jax.default_backend())
    yield devices.check_precision()
    yield host.check_memory()
    yield host.check_disk(folder, disk_bytes)
    yield from host.check_programs()
    yield host.check_cache(cache)
    yield check_peers()
    if seconds > 0:
        yield from devices.benchmark_devices(seconds)
