"""Processes of one run start together, end together, and are found by whatever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitreous.errors import InputError
from vitreous.training.distributed import Place, find_place, own_devices
from vitreous.training.launching import _LOST, Ended, launch, share_of_cores
from vitreous.training.slurm import Job, batch_script

WHO = "import os, sys, time; n = int(os.environ['VITREOUS_PROCESS']); "


def python(*statements: str) -> list[str]:
    return [sys.executable, "-S", "-c", WHO + "; ".join(statements)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
    return condition()


def test_all_run_and_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ("open(f'seen.{n}', 'w').write(os.environ['VITREOUS_PROCESSES'])", "print('said', n)")
    launch(python(*lines), 2, tmp_path / "logs")
    assert [(tmp_path / f"seen.{n}").read_text() for n in range(2)] == ["2", "2"]
    assert (tmp_path / "logs" / "process.1.log").read_text() == "said 1\n"
    assert share_of_cores([4, 5, 6, 7], 1, 2) == {6, 7}
    assert share_of_cores([4], 1, 2) == {4}, "too few cores are shared by all"


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("print('vitreous: lost.star: no such file'); sys.exit(2)", 2, "status 2 (vitreous: lost"),
        ("os.kill(os.getpid(), 9)", 137, "killed by SIGKILL"),
        (
            f"print('F1 {_LOST}.'); print('    @   0x7f'); sys.stdout.flush(); os.abort()",
            134,
            "killed by SIGABRT (lost touch with the others",
        ),
    ],
)
def test_one_that_fails_ends_the_others(tmp_path, end, status, words):
    pid = tmp_path / "pid"
    others = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = f"if n == 0:\n    {others}\ntime.sleep(0.5)\n{end.replace('; ', chr(10))}"
    began = time.monotonic()
    with pytest.raises(Ended) as caught:
        launch([sys.executable, "-S", "-c", WHO + "\n" + code], 2, tmp_path / "logs")
    assert time.monotonic() - began < 20
    assert caught.value.status == status
    assert "process 1 of 2" in str(caught.value)
    assert words in str(caught.value)
    assert not is_alive(int(pid.read_text()))


def test_what_all_say_is_said_once(tmp_path):
    with pytest.raises(Ended) as caught:
        launch(python("sys.exit(2)"), 2, tmp_path)
    assert (str(caught.value), caught.value.status) == ("", 2)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path, kind):
    code = f"open(f'{tmp_path}/{{n}}.pid', 'w').write(str(os.getpid())); time.sleep(600)"
    script = f"from vitreous.training.launching import launch; launch({python(code)!r}, 2)"
    launcher = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    files = [tmp_path / f"{n}.pid" for n in range(2)]
    assert wait_for(lambda: all(f.is_file() and f.read_text() for f in files), 60)
    launcher.send_signal(kind)
    launcher.wait(timeout=20)
    pids = [int(file.read_text()) for file in files]
    assert wait_for(lambda: not any(map(is_alive, pids)))


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="lost-program: cannot be started"):
        launch(["lost-program"], 2, tmp_path)


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "8"}
SLURM |= {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
OMPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
OMPI |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


def test_the_place_is_found_in_the_environment():
    assert find_place({}) is None
    assert find_place(SLURM) == Place(5, 8, 1, 4, None)
    assert find_place(SLURM | {"SLURM_NTASKS": "1"}) is None, "one task alone"
    assert find_place({k: v for k, v in SLURM.items() if "STEP_NODE" not in k}) is None, "no step"
    old = find_place(OMPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"})
    assert old == Place(1, 2, 1, 2, None), "JAX finds the address"
    new = find_place(OMPI | {"PMIX_NAMESPACE": "prterun-7"})
    assert new is not None
    assert new.coordinator.startswith("127.0.0.1:")
    with pytest.raises(InputError, match="JAX_COORDINATOR_ADDRESS"):
        find_place(OMPI | {"OMPI_COMM_WORLD_SIZE": "4"})


def test_gpus_are_shared_between_the_processes_of_a_machine():
    def place(local: int, count: int) -> Place:
        return Place(local, count, local, count, None)

    assert own_devices(0, place(0, 2)) is None
    assert own_devices(4, place(1, 2)) == [2, 3]
    assert own_devices(4, place(0, 1)) == [0, 1, 2, 3]
    assert own_devices(1, place(3, 4)) == [0], "the batch system has handed it out"
    with pytest.raises(InputError, match="3 processes on this machine but 2 GPUs"):
        own_devices(2, place(0, 3))


def test_a_job_told_to_stop_is_queued_again_and_goes_on(tmp_path):
    command = ["train-vae", "my particles.star", "-o", str(tmp_path / "run")]
    script = batch_script(command, Job(nodes=2, gpus=4, time="24:00:00"))
    for line in ("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "signal=B:USR1@300"):
        assert f"#SBATCH --{line}\n" in script
    (tmp_path / "job").write_text(script)
    # srun that works until it is told to stop, then ends well, as a fit that saved its state.
    fake = 'echo "$@" >> words; trap "exit 0" USR1; echo up; while :; do sleep 0.05; done'
    for name, text in (("srun", fake), ("scontrol", 'echo "$@" > queued')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with subprocess.Popen(
        ["bash", "job"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout.readline() == "up\n"
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=20) == 0
    assert (tmp_path / "queued").read_text() == "requeue 7\n"
    words = (tmp_path / "words").read_text()
    assert words.endswith(f"train-vae my particles.star -o {tmp_path}/run --resume\n")
