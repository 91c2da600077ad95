"""Start the processes of one run on this machine, and let none outlive the others."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from vitreous.errors import InputError

# Seconds that the others are given to end by themselves once one has failed.
_GRACE = 3.0
_POLL = 0.05
# What JAX says, before a stack of addresses, where the others have not been heard of for too long.
_LOST = "JAX distributed service detected fatal errors"
# Goes before the command in its process, as forking by hand is not safe beside threads of JAX:
# the system is to end it if the launcher dies, however it dies (PR_SET_PDEATHSIG is 1).
_PROLOGUE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
_FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Ended(Exception):
    """Say that a process of a launched run failed; `status` is the exit status to give."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def launch(command: Sequence[str], processes: int, logs: Path | None = None) -> None:
    """Run a command in several processes that find each other; returns when all are done.

    The first process shows its output, the others write `process.N.log`. SIGTERM, SIGUSR1 and
    Ctrl-C reach all of them. Cores and GPUs are shared between them. Should this process be
    killed, the system ends them.

    **Arguments:** `logs`: folder of the logs, by default a new temporary one.

    **Raises:** `Ended` if one of them failed; the others were ended.
    """
    if processes < 1:
        raise InputError(f"{processes} processes asked for: at least 1 is needed")
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]}: cannot be started: no such program")
    folder = Path(tempfile.mkdtemp(prefix="vitreous-launch-")) if logs is None else logs
    folder.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen] = []
    with _forward(started):
        try:
            shared = _environment(processes)
            for number in range(processes):
                started.append(_start(command, number, processes, shared, folder))
            _wait(started, folder)
        finally:
            for process in started:
                _kill(process)


def _environment(processes: int) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    return {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        "VITREOUS_PROCESSES": str(processes),
    }


def _start(
    command: Sequence[str], number: int, processes: int, shared: dict[str, str], folder: Path
) -> subprocess.Popen:
    cores = share_of_cores(sorted(os.sched_getaffinity(0)), number, processes)
    words = [sys.executable, "-S", "-c", _PROLOGUE, ",".join(map(str, sorted(cores))), *command]
    environment = shared | {"VITREOUS_PROCESS": str(number)}
    log = contextlib.nullcontext() if number == 0 else (folder / f"process.{number}.log").open("wb")
    with log as output:
        return subprocess.Popen(
            words,
            env=environment,
            stdin=None if number == 0 else subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )


def share_of_cores(cores: Sequence[int], number: int, processes: int) -> set[int]:
    """Give each process some cores of its own, or all of them if there are too few."""
    each = len(cores) // processes
    return set(cores[number * each : (number + 1) * each] if each else cores)


def _wait(started: list[subprocess.Popen], folder: Path) -> None:
    while True:
        codes = [process.poll() for process in started]
        failed = [number for number, code in enumerate(codes) if code]
        if failed:
            raise _ended(started, failed[0], folder)
        if all(code == 0 for code in codes):
            return
        time.sleep(_POLL)


def _ended(started: list[subprocess.Popen], number: int, folder: Path) -> Ended:
    """Word how a process failed; nothing if the first one has said the same already."""
    code = started[number].returncode
    until = time.monotonic() + _GRACE
    while time.monotonic() < until and any(process.poll() is None for process in started):
        time.sleep(_POLL)
    status = code if code > 0 else 128 - code
    if code > 0 and started[0].returncode == code:
        return Ended("", status)
    how = f"ended with status {code}" if code > 0 else f"was killed by {_signal_name(-code)}"
    said = _last_line(folder / f"process.{number}.log") if number else ""
    log = f" ({said}; {folder / f'process.{number}.log'})" if said else ""
    return Ended(f"process {number} of {len(started)} {how}{log}; the others were ended", status)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("vitreous: ")]
    if not ours and any(_LOST in line for line in lines):
        return "lost touch with the others: is one gone, or a machine overloaded?"
    return (ours or lines or [""])[-1][:300]


def _kill(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _forward(started: list[subprocess.Popen]) -> Iterator[None]:
    """Pass signals on to all processes: they decide what to do with them."""

    def send(number: int, _: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    before = {kind: signal.signal(kind, send) for kind in _FORWARDED}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
