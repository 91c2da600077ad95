"""Sets cut among files and programs, stopped and gone on with: the same bits as in one go."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitreous.cli.main import main
from vitreous.errors import InputError
from vitreous.particles import ImageSource, read_particles, write_map
from vitreous.simulation import (
    HingeMotion,
    MapStates,
    Optics,
    ParticleOptions,
    Shard,
    hinge_phantom,
    simulate_particles,
)
from vitreous.simulation.background import Background
from vitreous.simulation.layout import cut_into_parts, parts_of_shard

BOX, PIXEL = 16, 13.0
OPTIONS = ParticleOptions(
    count=53, snr=0.2, ice=300.0, optics=Optics(defocus=(2e4, 4e4)), seed=5, batch=8
)


@pytest.fixture(scope="module")
def specimen() -> MapStates:
    """One state of the hinge."""
    motion = HingeMotion(hinge_phantom(), BOX, PIXEL, low=20.0, high=20.0, states=1)
    return MapStates.of(motion.volumes(), PIXEL, "linear")


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Stop(Exception):
    """Stands for whatever ends a program."""


def stopper(after: int):
    """Raise once so many images were made."""
    made = 0

    def progress(images: int) -> None:
        nonlocal made
        made += images
        if made >= after:
            raise Stop

    return progress


def test_stopped_anywhere_and_repeated_it_is_the_same(specimen: MapStates, tmp_path: Path) -> None:
    simulate_particles(specimen, tmp_path / "whole", OPTIONS, images_per_file=20)
    for after in (1, 9, 30, 50):
        with pytest.raises(Stop):
            simulate_particles(
                specimen, tmp_path / "cut", OPTIONS, images_per_file=20, progress=stopper(after)
            )
        assert not (tmp_path / "cut" / "particles.star").exists()
        assert not (tmp_path / "cut" / "truth.npz").exists()
    seen: list[int] = []
    simulate_particles(
        specimen, tmp_path / "cut", OPTIONS, images_per_file=20, progress=seen.append
    )
    assert sum(seen) == 53
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert len(list((tmp_path / "cut").glob("particles_*.mrcs"))) == 3


def test_a_file_cut_in_the_middle_of_an_image_goes_on(specimen: MapStates, tmp_path: Path) -> None:
    simulate_particles(specimen, tmp_path / "whole", OPTIONS)
    folder = tmp_path / "cut"
    with pytest.raises(Stop):
        simulate_particles(specimen, folder, OPTIONS, progress=stopper(30))
    partial = folder / ".particles.mrcs.partial"
    os.truncate(partial, 1024 + 1024 * 11 + 100)
    simulate_particles(specimen, folder, OPTIONS)
    assert files(folder) == files(tmp_path / "whole")


def test_what_another_program_stored_is_not_trusted(
    specimen: MapStates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulate_particles(specimen, tmp_path / "whole", OPTIONS)
    folder = tmp_path / "cut"
    with pytest.raises(Stop):
        simulate_particles(specimen, folder, OPTIONS, progress=stopper(30))
    partial = folder / ".particles.mrcs.partial"
    partial.write_bytes(partial.read_bytes()[:1024] + bytes(1024 * 16))
    simulate_particles(specimen, folder, OPTIONS)
    assert "begun anew" in caplog.text
    assert files(folder) == files(tmp_path / "whole")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_make_the_set_of_one_run(
    specimen: MapStates, tmp_path: Path, order: tuple[int, ...]
) -> None:
    simulate_particles(specimen, tmp_path / "one", OPTIONS, images_per_file=11)
    folder = tmp_path / "shards"
    for k in order:
        assert not (folder / "particles.star").exists()
        simulate_particles(specimen, folder, OPTIONS, images_per_file=11, shard=Shard(k, 3))
    assert files(folder) == files(tmp_path / "one")


def test_without_a_file_size_each_shard_writes_one_file(
    specimen: MapStates, tmp_path: Path
) -> None:
    """The files differ from those of one run; the images do not."""
    whole = simulate_particles(specimen, tmp_path / "one", OPTIONS)
    for k in (1, 2):
        simulate_particles(specimen, tmp_path / "two", OPTIONS, shard=Shard(k, 2))
    table = read_particles(tmp_path / "two" / "particles.star")
    assert len(table.stacks) == 2
    index = np.arange(53)
    np.testing.assert_array_equal(ImageSource(table).read(index), ImageSource(whole).read(index))


@pytest.mark.parametrize("count", [1, 7, 12, 53])
@pytest.mark.parametrize("size", [1, 5, None])
def test_shards_share_all_files(count: int, size: int | None) -> None:
    parts = cut_into_parts(count, size, 5)
    shared = [part for k in range(1, 6) for part in parts_of_shard(parts, Shard(k, 5))]
    assert shared == parts
    assert [part.first for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == count


def test_another_set_is_refused(specimen: MapStates, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        simulate_particles(specimen, tmp_path, OPTIONS, progress=stopper(20))
    kept = files(tmp_path)
    with pytest.raises(InputError, match="part of another set"):
        simulate_particles(specimen, tmp_path, replace(OPTIONS, seed=6))
    with pytest.raises(InputError, match="remove each other"):
        simulate_particles(specimen, tmp_path, OPTIONS, shard=Shard(1, 2), overwrite=True)
    assert files(tmp_path) == kept
    simulate_particles(specimen, tmp_path, replace(OPTIONS, seed=6), overwrite=True)
    assert {name for name in files(tmp_path) if "mrcs" in name} == {"particles.mrcs"}


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_a_shard_is_one_of_so_many(text: str) -> None:
    with pytest.raises(InputError, match=f"--shard {text}"):
        Shard.parse(text)


def test_killed_it_goes_on(specimen: MapStates, tmp_path: Path) -> None:
    """A program killed by SIGKILL while it writes, then repeated by another."""
    write_map(tmp_path / "map.mrc", specimen.volumes()[0], PIXEL)
    words = ["simulate", str(tmp_path / "map.mrc"), "-n", "9000", "-b", "16"]
    words += ["--images-per-file", "4000", "-o"]
    program = subprocess.Popen(
        [sys.executable, "-m", "vitreous.cli.main", *words, str(tmp_path / "cut")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    second = tmp_path / "cut" / ".particles_0002.mrcs.partial"
    until = time.monotonic() + 120
    while not (second.exists() and second.stat().st_size > 50_000) and time.monotonic() < until:
        assert program.poll() is None
        time.sleep(0.005)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert not (tmp_path / "cut" / "particles.star").exists()
    for name in ("cut", "whole"):
        main([*words, str(tmp_path / name)])
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_errors_of_the_disk_reach_the_caller() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    def work() -> None:
        with Background() as background:
            background.do(lambda: done.append(1))
            background.do(fail)
            for _ in range(100):
                time.sleep(0.001)
                background.do(lambda: done.append(2))

    with pytest.raises(OSError, match="disk full"):
        work()
    assert done == [1]
