"""Time and memory of reading a large RELION 3.1 table: ours beside starfile, one process each.

The file has 26 columns as Refine3D writes them, an optics table, and 200 images a stack. "table"
is everything up to a `ParticleTable`: text, numbers, rotations, shifts in Å, optics of each
particle, image references; starfile stops at data frames. Memory is the growth of the peak
resident size over that after reading a table of five rows.

    python benchmarks/parse_star.py [--rows 100000] [--repeats 3] [--json parse_star.json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import machine, write_json

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnAmplitudeContrast #3
_rlnSphericalAberration #4
_rlnVoltage #5
_rlnImagePixelSize #6
_rlnMicrographOriginalPixelSize #7
_rlnImageSize #8
_rlnImageDimensionality #9
1 opticsGroup1 0.100000 2.700000 300.000000 1.350000 0.675000 256 2
2 opticsGroup2 0.100000 2.700000 300.000000 1.360000 0.680000 256 2


# version 30001

data_particles

loop_
"""
COLUMNS = [
    "CoordinateX",
    "CoordinateY",
    "ImageOriginalName",
    "MicrographName",
    "CtfMaxResolution",
    "CtfFigureOfMerit",
    "DefocusU",
    "DefocusV",
    "DefocusAngle",
    "CtfBfactor",
    "CtfScalefactor",
    "PhaseShift",
    "AngleRot",
    "AngleTilt",
    "AnglePsi",
    "ClassNumber",
    "NormCorrection",
    "RandomSubset",
    "LogLikeliContribution",
    "MaxValueProbDistribution",
    "NrOfSignificantSamples",
    "ImageName",
    "OpticsGroup",
    "OriginXAngst",
    "OriginYAngst",
    "GroupNumber",
]


def write_table(path: Path, rows: int) -> None:
    """Write a table with the names and number formats of real ones."""
    random = np.random.default_rng(0).random((rows, 12)).tolist()
    with path.open("w") as handle:
        handle.write(OPTICS)
        handle.writelines(f"_rln{name} #{k}\n" for k, name in enumerate(COLUMNS, 1))
        for row, r in enumerate(random):
            image, movie = row % 200 + 1, f"Micrographs/FoilHole_1098{row // 200:06d}_20180810_DW"
            handle.write(
                f"{4e3 * r[0]:12.6f} {4e3 * r[1]:12.6f} {image:06d}@Extract/job133/{movie}.mrcs "
                f"{movie}.mrc     4.545000     0.089249 {8e3 + 1e4 * r[2]:12.6f} "
                f"{8e3 + 1e4 * r[3]:12.6f} {360 * r[4] - 180:12.5f}     0.000000     1.000000"
                f"     0.000000 {360 * r[5] - 180:12.6f} {180 * r[6]:12.6f} "
                f"{360 * r[7] - 180:12.6f}            1     {r[8]:.6f} {row % 2 + 1:12d} "
                f"2.586789e+05     0.051189          450 {image:06d}@Extract/job140/{movie}.mrcs"
                f"  {row % 2 + 1:11d} {4 * r[9] - 2:12.6f} {4 * r[10] - 2:12.6f}            1\n"
            )


def peak_kilobytes() -> int:
    """Return the largest resident size of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def measure(reader: str, path: Path, small: Path, repeats: int) -> dict:
    """Read the table in this process: best time, and growth of the peak resident size."""
    if reader == "vitreous":
        from vitreous.particles import read_particles as read
    else:
        from starfile import read
    read(small)
    # The peak that the kernel keeps is inherited from whoever started this process.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_kilobytes()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = read(path)
        seconds.append(time.perf_counter() - start)
        del result
    after = peak_kilobytes()
    return {
        "seconds": min(seconds),
        "first_seconds": seconds[0],
        "megabytes": (after - before) / 1024,
    }


def measure_writing(path: Path, folder: Path) -> float:
    """Write every second row back, and return the seconds it takes."""
    from vitreous.particles import read_particles

    table = read_particles(path)
    start = time.perf_counter()
    table.select(slice(None, None, 2)).to_star(folder / "half.star")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        reader, path, small = options.child
        print(json.dumps(measure(reader, Path(path), Path(small), options.repeats)))
        return

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "particles.star", Path(folder) / "small.star"
        write_table(path, options.rows)
        write_table(small, 5)
        size = path.stat().st_size / 2**20
        for reader in ("vitreous", "starfile"):
            words = [sys.executable, __file__, "--repeats", str(options.repeats)]
            words += ["--child", reader, str(path), str(small)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            results[reader] = json.loads(done.stdout)
        writing = measure_writing(path, Path(folder))

    print(f"{options.rows:,} rows, {len(COLUMNS)} columns, {size:.0f} MiB")
    print(f"{'reader':<10} {'best s':>8} {'first s':>8} {'peak MiB':>9}")
    for reader, row in results.items():
        best, first, memory = row["seconds"], row["first_seconds"], row["megabytes"]
        print(f"{reader:<10} {best:8.2f} {first:8.2f} {memory:9.0f}")
    print(f"write half of the rows, every column: {writing:.2f} s")
    content = {
        "machine": machine("pandas", "starfile"),
        "rows": options.rows,
        "file_megabytes": size,
        "readers": results,
        "write_half_seconds": writing,
    }
    write_json(options.json, "parse_star", content)


if __name__ == "__main__":
    main()
