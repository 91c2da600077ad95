"""The batch script of a fit on a SLURM cluster: saved before its time is up, and queued again."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from vitreous.errors import InputError

_SCRIPT = """\
#!/bin/bash
{directives}

{go_on}stopped=
trap 'stopped=1; kill -USR1 "$running" 2>/dev/null' USR1 TERM
srun --kill-on-bad-exit=1 {command} &
running=$!
wait "$running"
status=$?
# A signal ends that wait before the fit has saved its state.
while kill -0 "$running" 2>/dev/null; do
  wait "$running"
  status=$?
done
if [ -n "$stopped" ] && [ "$status" -eq 0 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""
_GO_ON = """\
# A job that was stopped starts again from the top: go on with what it left.
go_on=
if [ -e {config} ]; then go_on=--resume; fi
"""


@dataclass(frozen=True)
class Job:
    """Say what a job asks for.

    **Fields:** `gpus`: of each node, a process each; 0 for a process a node on its CPUs. `time`:
    as SLURM words it. `warning`: seconds before the end at which the fit is told to save.
    `cores`: of each process. `memory`: of each node, as `200G`. `extra`: more `#SBATCH` options.
    """

    nodes: int = 1
    gpus: int = 1
    time: str = "24:00:00"
    warning: int = 300
    cores: int = 8
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    extra: tuple[str, ...] = ()


def batch_script(command: Sequence[str], job: Job) -> str:
    """Compose the script that runs a command in one process for each GPU.

    A fit that is told to stop saves its state and ends with status 0; the job is then queued
    again and goes on with `--resume`.

    **Raises:** `InputError` for a command that cannot be empty, or counts below 1.
    """
    if not command:
        raise InputError("no command to run: give it after --, as in -- train-vae …")
    if job.nodes < 1 or job.gpus < 0:
        raise InputError(f"{job.nodes} nodes with {job.gpus} GPUs: at least 1 node is needed")
    options = {
        "job-name": "-".join(word for word in command[:2] if not word.startswith("-"))[:40],
        "nodes": job.nodes,
        "ntasks-per-node": max(job.gpus, 1),
        "gpus-per-node": job.gpus or None,
        "cpus-per-task": job.cores,
        "mem": job.memory,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        # To the script alone: srun hands it on, and the script knows that it came.
        "signal": f"B:USR1@{job.warning}",
        "open-mode": "append",
        "output": "vitreous-%j.log",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {word}" for word in job.extra)]
    words, go_on = shlex.join(command), ""
    folder = _output_folder(command)
    if folder is not None and "--resume" not in command:
        go_on = _GO_ON.format(config=shlex.quote(f"{folder}/config.yaml"))
        words += " $go_on"
    return _SCRIPT.format(directives="\n".join(lines), go_on=go_on, command=words)


def _output_folder(command: Sequence[str]) -> str | None:
    """Find the run folder of a fit in its words; None for what is no fit."""
    if not any(word.startswith("train-") or word == "abinit" for word in command):
        return None
    for number, word in enumerate(command):
        if word in ("-o", "--outdir") and number + 1 < len(command):
            return command[number + 1].rstrip("/")
        if word.startswith("--outdir="):
            return word.partition("=")[2].rstrip("/")
    return None


def submit(script: str) -> str:
    """Hand a script to `sbatch`; returns what it answers.

    **Raises:** `InputError` if it is not there or refuses.
    """
    try:
        done = subprocess.run(["sbatch"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            "sbatch: not on this machine; save the script and submit it there"
        ) from None
    if done.returncode:
        raise InputError(f"sbatch: {' '.join(done.stderr.split())[:300]}")
    return done.stdout.strip()
