"""Time and memory of `select` on a large RELION 3.1 table: choose by a column, write every column.

python benchmarks/select_rows.py [--rows 1000000] [--json select_rows.json]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parse_star import write_table
from record import machine, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "particles.star"
        write_table(path, options.rows)
        words = [sys.executable, "-m", "vitreous.cli.main", "select", str(path)]
        words += ["--range", "rlnDefocusU:10000:14000"]
        words += ["-o", str(Path(folder) / "some.star"), str(Path(folder) / "rows.npy")]
        start = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        size = path.stat().st_size / 2**20
    chosen = done.stdout.splitlines()[0]
    print(
        f"{options.rows:,} rows, {size:.0f} MiB: {seconds:.1f} s, peak {memory:.2f} GiB; {chosen}"
    )
    content = {
        "machine": machine("pandas"),
        "rows": options.rows,
        "file_megabytes": size,
        "seconds": seconds,
        "peak_gib": memory,
        "chosen": chosen,
    }
    write_json(options.json, "select_rows", content)


if __name__ == "__main__":
    main()
