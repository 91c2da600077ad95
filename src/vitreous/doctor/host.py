"""The machine around the devices: memory, disk, drivers, programs, compiled code."""

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

from vitreous.doctor.findings import Finding
from vitreous.errors import InputError
from vitreous.particles.memory import free_host_memory

# Below this streaming waits for the disk: a fit at 64² on a CPU alone reads 10 MB/s.
_SLOW_DISK = 100e6
_LITTLE_DISK = 2 << 30
_LITTLE_MEMORY = 2 << 30


def check_memory() -> Finding:
    """Look at the memory that this process may still take."""
    free, cores = free_host_memory(), len(os.sched_getaffinity(0))
    found = f"{free / 2**30:.1f} GiB free, {cores} cores"
    figures = {"free_bytes": free, "cores": cores}
    if free < _LITTLE_MEMORY:
        advice = "end other programs, or ask the batch system for more (--mem)"
        return Finding("memory", found, "mend", advice, figures)
    return Finding("memory", found, figures=figures)


def check_disk(folder: Path, size: int = 256 << 20) -> Finding:
    """Write a file in a folder, read it back past the page cache, and remove it.

    **Arguments:** `size`: bytes of the file.

    **Raises:** `InputError` if nothing can be written there.
    """
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    if free < size + _LITTLE_DISK:
        advice = "make room, or give another folder with --folder"
        found = f"{folder}: {free / 2**30:.1f} GiB free"
        return Finding("disk", found, "mend", advice, {"free_bytes": free})
    file = folder / f".vitreous-doctor.{secrets.token_hex(4)}"
    block = np.random.default_rng(0).bytes(min(size, 8 << 20))
    blocks = -(-size // len(block))
    try:
        wrote, read = _write_and_read(file, block, blocks)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        file.unlink(missing_ok=True)
    found = (
        f"{folder}: writes {wrote / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s, "
        f"{free / 2**30:.0f} GiB free"
    )
    figures = {"write_bytes_per_second": wrote, "read_bytes_per_second": read, "free_bytes": free}
    if min(wrote, read) < _SLOW_DISK:
        advice = "keep runs and caches on a local disk if there is one"
        return Finding("disk", found, "note", advice, figures)
    return Finding("disk", found, figures=figures)


def _write_and_read(file: Path, block: bytes, blocks: int) -> tuple[float, float]:
    """Return bytes a second written and read."""
    began = time.perf_counter()
    with file.open("wb", buffering=0) as out:
        for _ in range(blocks):
            out.write(block)
        os.fsync(out.fileno())
        wrote = time.perf_counter() - began
        # What is still in the page cache would be read at the speed of memory.
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    with file.open("rb", buffering=0) as source:
        while source.read(len(block)):
            pass
    read = time.perf_counter() - began
    size = len(block) * blocks
    return size / max(wrote, 1e-9), size / max(read, 1e-9)


def check_programs() -> list[Finding]:
    """Look for the programs that some commands start: ffmpeg for MP4 movies, Chromium for tests."""
    findings = []
    try:
        import imageio_ffmpeg

        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        ffmpeg = shutil.which("ffmpeg") or ""
    advice = "" if ffmpeg else "movies are written as GIF only; pip install imageio-ffmpeg"
    findings.append(Finding("ffmpeg", ffmpeg or "none", "ok" if ffmpeg else "note", advice))
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), "")
    advice = "" if browser else "only the dashboard's own tests need it"
    findings.append(Finding("chromium", browser or "none", "ok" if browser else "note", advice))
    return findings


def check_cache(folder: Path) -> Finding:
    """Look at the folder of compiled code, which spares a second run most of its start."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    figures = {"files": len(files), "bytes": size}
    found = f"{folder}: {len(files)} functions, {size / 2**20:.0f} MiB"
    above = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(above, os.W_OK):
        advice = f"make {above} writable: until then every run compiles anew"
        return Finding("compiled code", found, "mend", advice, figures)
    return Finding("compiled code", found, figures=figures)


def check_driver(platform: str) -> Finding:
    """Ask the NVIDIA driver what it sees, and compare with what JAX uses.

    **Arguments:** `platform`: JAX's default, `"cpu"` or `"gpu"`.
    """
    program = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    if program is None:
        return Finding("NVIDIA driver", "none")
    done = subprocess.run([program, *query], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not lines:
        said = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["does not answer"]
        advice = "load the driver or reboot, or ask the administrator"
        return Finding("NVIDIA driver", said[0], "mend", advice)
    found = f"{len(lines)} × {lines[0]}"
    if platform == "cpu":
        advice = (
            "JAX does not use them: pip install 'vitreous[cuda]' (CUDA 13, driver 580 or newer)"
        )
        return Finding("NVIDIA driver", found, "mend", advice, {"gpus": len(lines)})
    return Finding("NVIDIA driver", found, figures={"gpus": len(lines)})
