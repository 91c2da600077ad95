"""The wheel holds every file of the package, and nothing of the tests."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_wheel_is_whole(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    files = [p.relative_to(source) for p in (source / "vitreous").rglob("*") if p.is_file()]
    # Caches of Python and of mypy lie between the files of a checkout.
    wanted = {str(f) for f in files if not any(p[0] == "." or p == "__pycache__" for p in f.parts)}
    assert packed == wanted
    assert any(name.endswith("report.js") for name in packed)
