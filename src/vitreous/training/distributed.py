"""Several processes as one: who is there, and what all of them must agree on.

The engine is `jax.distributed`, with NCCL between GPUs and Gloo between CPUs. `vitreous launch`,
`srun` and `mpirun` say through the environment which process this is.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from vitreous.errors import InputError
from vitreous.particles.device_data import SPREAD, WHOLE

# What `vitreous launch` sets, beside JAX's own JAX_COORDINATOR_ADDRESS.
PROCESSES, PROCESS = "VITREOUS_PROCESSES", "VITREOUS_PROCESS"
# A dead process is noticed after so many seconds, and waited for at the end for so many.
_HEARTBEAT, _SHUTDOWN, _CONNECT = 30, 20, 120
_PORTS = 4096


class Place(NamedTuple):
    """Say which process this is.

    **Fields:** `process` of `processes`; `local` of `locals`: the same among those of this
    machine. `coordinator`: address of the first process, None where JAX finds it.
    """

    process: int
    processes: int
    local: int
    locals: int
    coordinator: str | None


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Read from the environment which process this is; None for a process of its own.

    Understood are the variables of `vitreous launch`, SLURM (inside `srun`) and Open MPI.
    """
    env = environment
    if PROCESSES in env and PROCESS in env:
        process, processes = int(env[PROCESS]), int(env[PROCESSES])
        return Place(process, processes, process, processes, env.get("JAX_COORDINATOR_ADDRESS"))
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if all(name in env for name in slurm):
        # As `4(x2)` or `4,3`: by node. Processes are spread as evenly as SLURM does by default.
        tasks = env.get("SLURM_STEP_TASKS_PER_NODE", env.get("SLURM_NTASKS_PER_NODE", "1"))
        local = int(tasks.split("(")[0].split(",")[0])
        processes = int(env["SLURM_NTASKS"])
        place = Place(int(env["SLURM_PROCID"]), processes, int(env["SLURM_LOCALID"]), local, None)
        return place if processes > 1 else None
    if "OMPI_COMM_WORLD_SIZE" in env and int(env["OMPI_COMM_WORLD_SIZE"]) > 1:
        size, local = int(env["OMPI_COMM_WORLD_SIZE"]), int(env["OMPI_COMM_WORLD_LOCAL_SIZE"])
        address = None
        if "OMPI_MCA_orte_hnp_uri" not in env:
            if size != local:
                raise InputError(
                    "mpirun of Open MPI 5 over several machines does not say where the first "
                    "process is: set JAX_COORDINATOR_ADDRESS=HOST:PORT for all of them (-x)"
                )
            # Open MPI 5 names no address, but on one machine any port that all agree on will do.
            job = env.get("PMIX_NAMESPACE", env.get("OMPI_MCA_ess_base_jobid", "vitreous"))
            address = f"127.0.0.1:{_port_of(job)}"
        rank, own = int(env["OMPI_COMM_WORLD_RANK"]), int(env["OMPI_COMM_WORLD_LOCAL_RANK"])
        return Place(rank, size, own, local, env.get("JAX_COORDINATOR_ADDRESS", address))
    return None


def _port_of(name: str) -> int:
    """Choose a port by a name, the same in all processes."""
    return 65535 - _PORTS + int(hashlib.sha256(name.encode()).hexdigest(), 16) % _PORTS


def own_devices(visible: int, place: Place) -> list[int] | None:
    """Share the GPUs of a machine between its processes; None leaves it to JAX (no GPUs).

    A batch system that hands each process its own GPUs shows it just those.

    **Raises:** `InputError` if there are fewer GPUs than processes.
    """
    if visible == 0:
        return None
    each = visible // place.locals
    if each == 0:
        if visible == 1:
            return [0]
        raise InputError(
            f"{place.locals} processes on this machine but {visible} GPUs: start one for each GPU"
        )
    return list(range(place.local * each, (place.local + 1) * each))


def _visible_gpus() -> int:
    """Count the NVIDIA GPUs this process may use, without starting JAX."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([word for word in named.split(",") if word not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None or os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return 0
    done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def initialise() -> Place | None:
    """Join the other processes of this run, if there are any; must come before any work of JAX.

    **Returns:** which process this is, None if it is the only one.

    **Raises:** `InputError` if the others cannot be reached.
    """
    place = find_place(os.environ)
    if place is None or place.processes == 1 or jax.distributed.is_initialized():
        return place
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    known = place.coordinator is not None
    try:
        jax.distributed.initialize(
            coordinator_address=place.coordinator,
            num_processes=place.processes,
            process_id=place.process,
            local_device_ids=own_devices(_visible_gpus(), place),
            cluster_detection_method="deactivate" if known else None,
            initialization_timeout=_CONNECT,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"process {place.process} of {place.processes} cannot reach the first one: {reason}"
        ) from error
    return place


def leave(error: BaseException) -> None:
    """End a process that failed at once: the usual end waits for the others, who wait for it.

    Returns if this process is the only one, or ends well.
    """
    code = error.code if isinstance(error, SystemExit) else 1
    if code in (None, 0) or not jax.distributed.is_initialized():
        return
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def wait_for_all(name: str) -> None:
    """Wait until every process has come here.

    **Arguments:** `name`: of the place, which must be the same in all.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def wait_for_end() -> None:
    """Wait for what the first process does alone at the end, however long it takes."""
    if jax.distributed.is_initialized():
        wait_for_all("end")


def gather_numbers(values: np.ndarray) -> np.ndarray:
    """Return the values of every process, stacked along a new first axis."""
    if jax.process_count() == 1:
        return values[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values))


class Vote:
    """Let all processes act on what one of them saw, without making the devices wait.

    A question asked now is answered by the largest of all answers at the next call, when the
    devices have long been past it.

    **Arguments:** `mesh`: of all devices, or None.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self._mesh = mesh if jax.process_count() > 1 else None
        self._asked: jax.Array | None = None
        self._largest: Callable[[jax.Array], jax.Array] = lambda x: x
        if self._mesh is not None:
            self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(self._mesh, WHOLE))

    def __call__(self, value: int) -> int:
        """Give this process's answer; returns that of all: of the last call, if there are more.

        At the first call with others there was none before: −1.
        """
        if self._mesh is None:
            return value
        before = -1 if self._asked is None else int(self._asked)
        mine = np.full(self._mesh.size, value, np.int32)
        spread = NamedSharding(self._mesh, SPREAD)
        votes = jax.make_array_from_callback(mine.shape, spread, lambda part: mine[part])
        self._asked = self._largest(votes)
        return before
