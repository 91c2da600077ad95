"""The benchmark programs of this folder: how each is started, what it needs, what it costs."""

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
Cost = Literal["seconds", "minutes", "hours"]
COSTS: tuple[Cost, ...] = ("seconds", "minutes", "hours")
_IGG = "particles/igg-64"
_CIF = "structures/1igy.cif"
_MAP = "maps/3j9g_potential_ps4_4.mrc"


@dataclass(frozen=True)
class Program:
    """Say how a benchmark is started.

    **Fields:** `name`: of the file. `cost`: of the whole on two cores. `words`: of its command;
    `quick`: instead, for a look of seconds to a minute, None where there is none. A word `@PATH`
    stands for a file of the test data. `gpu`: instead on GPUs, where the sizes of a CPU say
    nothing. `result`: name of the JSON file. `output`: the option that takes it. `needs`: modules
    or programs that must be there.
    """

    name: str
    cost: Cost
    words: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = None
    gpu: tuple[str, ...] | None = None
    result: str = ""
    output: str = "--json"
    needs: tuple[str, ...] = ()

    def arguments(self, *, quick: bool, on_gpu: bool) -> list[str] | None:
        """Return the words of the command, None if there is nothing quick to run."""
        words: tuple[str, ...] | None = self.words
        if quick:
            words = self.quick
        elif on_gpu and self.gpu is not None:
            words = self.gpu
        if words is None:
            return None
        return [str(DATA / word[1:]) if word.startswith("@") else word for word in words]

    def lacks(self, arguments: Sequence[str]) -> str:
        """Name what is missing here; empty if nothing is."""
        for word in arguments:
            if word.startswith(str(DATA)) and not Path(word).exists():
                return word
        for need in self.needs:
            if importlib.util.find_spec(need) is None and shutil.which(need) is None:
                return need
        return ""


PROGRAMS = (
    Program("backprojection", "seconds", quick=("--images", "300", "--core-only"),
            gpu=("--images", "20000", "--box", "128"), result="backprojection_64"),
    Program("imaging_speed", "seconds", quick=("--box", "32"), gpu=("--box", "256")),
    Program("image_model", "seconds", quick=("--box", "32", "--seconds", "0.5"),
            gpu=("--box", "256", "--batch", "256"), output="--output"),
    Program("device_rates", "seconds", ("--box", "64", "--images", "2000"),
            quick=("--box", "16", "--images", "64", "--batch", "16", "--width", "32",
                   "--block", "2", "-k", "2", "--seconds", "0.5"),
            gpu=("--box", "128", "256", "--images", "20000", "--batch", "256",
                 "--width", "1024", "--seconds", "10")),
    Program("streaming_rate", "minutes", quick=("--images", "600", "--box", "32"),
            gpu=("--images", "50000", "--box", "128")),
    Program("streaming_memory", "minutes", quick=("--images", "2000", "--box", "32"),
            gpu=("--images", "200000", "--box", "256")),
    Program("streaming_memory", "minutes", ("--images", "20000", "200000", "--box", "64"),
            result="streaming_flat"),
    Program("parse_star", "minutes", quick=("--rows", "5000")),
    Program("select_rows", "minutes", quick=("--rows", "5000")),
    Program("simulate_dataset", "minutes"),
    Program("layouts", "hours", quick=("--only", "downsample", "--layouts", "2x1")),
    Program("kill_trials", "minutes", quick=("--trials", "2")),
    Program("kill_trials", "minutes", ("--trials", "20", "--processes", "2"),
            result="kill_trials_2"),
    Program("match_template", "minutes"),
    Program("landscape", "minutes"),
    Program("volume_alignment", "minutes", quick=("--boxes", "32", "--trials", "1")),
    Program("subspace", "minutes", (f"@{_IGG}/particles.star", f"@{_IGG}/truth.npz"),
            output="-o"),
    Program("subspace_scale", "hours", (f"@{_MAP}",), output="-o"),
    Program("subspace_sets", "hours", (f"@{_CIF}",), output="-o"),
    Program("latent_igg", "minutes", (f"@{_IGG}", "--epochs", "8")),
    Program("flexible_tracking", "minutes", ("@.",)),
    Program("latent_poses", "hours"),
    Program("tilt_series", "hours"),
    Program("morph", "hours", ("--structure", f"@{_CIF}"), output="-o"),
    Program("abinitio", "hours", ("--test", "T4", "--seeds", "0")),
    Program("abinitio_rates", "minutes", gpu=("--images", "100000", "--box", "128")),
    Program("abinitio_amortised", "hours"),
    Program("dashboard", "minutes"),
    Program("dashboard_page", "minutes", needs=("chromium",)),
)  # fmt: skip


# They count on paper, or help the others.
_NO_PROGRAMS = {
    *("__main__", "compare", "record", "scaling_model", "suite"),
    *("flexible_poses", "flexible_rendering", "flexible_trials"),
}


def unnamed() -> list[Program]:
    """List the programs of the folder that nobody has named above: taken to cost most."""
    named = {program.name for program in PROGRAMS} | _NO_PROGRAMS
    files = sorted(HERE.glob("*.py"))
    runs = [f.stem for f in files if '__name__ == "__main__"' in f.read_text(encoding="utf-8")]
    return [Program(name, "hours") for name in runs if name not in named]


def chosen(names: Sequence[str], most: Cost) -> list[Program]:
    """Choose programs by name, or all that cost no more than `most`.

    **Raises:** `SystemExit` for a name that is not there.
    """
    programs = [*PROGRAMS, *unnamed()]
    known = {program.name for program in programs}
    unknown = sorted(set(names) - known)
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if names:
        return [program for program in programs if program.name in names]
    return [program for program in programs if COSTS.index(program.cost) <= COSTS.index(most)]
