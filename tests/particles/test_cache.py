"""A cache of images: the same pixels, made once, and never of another set or half whole."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.particles import cache as room
from vitreous.particles import memory, write_stack
from vitreous.particles.cache import CachedImages, cache_images
from vitreous.particles.order import epoch_plan, shuffled_order
from vitreous.particles.source import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.training.inputs import DataOptions, prepared_images

BOX, COUNT = 8, 60


@pytest.fixture
def table(tmp_path, monkeypatch) -> ParticleTable:
    # Blocks of 7 images: the last one is not full.
    monkeypatch.setattr(room, "_BLOCK_BYTES", 7 * 4 * BOX**2)
    rng = np.random.default_rng(0)
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.mrcs"))
        write_stack(paths[-1], rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32), 2.0)
    whole = ParticleTable(
        stacks=tuple(paths),
        stack_id=np.repeat([0, 1], COUNT).astype(np.int32),
        image_index=np.tile(np.arange(COUNT), 2),
        box=np.full(2 * COUNT, BOX, np.int32),
        pixel_size=np.full(2 * COUNT, 2.0),
        rotation=None,
        shift=np.zeros((2 * COUNT, 2), np.float32),
        ctf=None,
        optics_group=np.zeros(2 * COUNT, np.int32),
        row=np.arange(2 * COUNT),
    )
    # As --ind chooses them: from both stacks, in no order.
    return whole.select(rng.permutation(2 * COUNT)[:50])


class Counting(ImageSource):
    """Count the images that are read; stop after some, as a killed program would."""

    def __init__(self, table, stop_after=None):
        super().__init__(table)
        self.seen, self._stop = 0, stop_after

    def read(self, index):
        if self._stop is not None and self.seen >= self._stop:
            raise KeyboardInterrupt
        self.seen += len(index)
        return super().read(index)


def test_the_images_are_those_of_the_selection(table, tmp_path):
    source, told = Counting(table), []
    cached = cache_images(source, table, tmp_path / "cache", told.append)
    assert (len(cached), cached.box, sum(told), source.seen) == (50, BOX, 50, 50)
    rows = np.array([49, 3, 4, 5, 3, 0])
    np.testing.assert_array_equal(cached.read(rows), ImageSource(table).read(rows))
    assert cached.read(np.zeros(0, int)).shape == (0, BOX, BOX)
    again = Counting(table)
    cache_images(again, table, tmp_path / "cache")
    assert again.seen == 0, "made once"
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["images.bin", "images.json"]


def test_a_stopped_copy_goes_on(table, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cache_images(Counting(table, stop_after=21), table, tmp_path / "cache")
    # A block half written, and a line cut short.
    with (tmp_path / "cache" / ".images.bin.partial").open("ab") as file:
        file.write(b"torn")
    with (tmp_path / "cache" / ".images.list.partial").open("a") as file:
        file.write("123")
    rest = Counting(table)
    cached = cache_images(rest, table, tmp_path / "cache")
    assert rest.seen == 50 - 21
    rows = np.arange(50)
    np.testing.assert_array_equal(cached.read(rows), ImageSource(table).read(rows))


def test_what_was_damaged_meanwhile_is_copied_again(table, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cache_images(Counting(table, stop_after=21), table, tmp_path / "cache")
    with (tmp_path / "cache" / ".images.bin.partial").open("r+b") as file:
        file.seek(8 * 4 * BOX**2)
        file.write(b"\xff\xff\xff\xff")
    rest = Counting(table)
    cached = cache_images(rest, table, tmp_path / "cache")
    assert rest.seen == 50 - 7, "the first block alone was whole"
    np.testing.assert_array_equal(
        cached.read(np.arange(50)), ImageSource(table).read(np.arange(50))
    )


def test_another_set_is_refused(table, tmp_path):
    cache_images(ImageSource(table), table, tmp_path / "cache")
    other = table.select(np.arange(49))
    with pytest.raises(InputError, match="images of another set"):
        cache_images(ImageSource(other), other, tmp_path / "cache")
    # The same names, but the stack was written anew.
    write_stack(table.stacks[0], np.zeros((COUNT, BOX, BOX), np.float32), 2.0)
    with pytest.raises(InputError, match="stacks changed since"):
        cache_images(ImageSource(table), table, tmp_path / "cache")


def test_a_damaged_cache_is_refused(table, tmp_path):
    cache_images(ImageSource(table), table, tmp_path / "cache")
    file = tmp_path / "cache" / "images.bin"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    number = len(json.loads((tmp_path / "cache" / "images.json").read_text())["crc32"]) - 1
    with pytest.raises(InputError, match=f"block {number} is damaged"):
        cache_images(ImageSource(table), table, tmp_path / "cache")
    file.write_bytes(raw[:-4])
    with pytest.raises(InputError, match="bytes instead of"):
        cache_images(ImageSource(table), table, tmp_path / "cache")


def test_scattered_images_that_do_not_fit_are_copied_unasked(table, tmp_path, monkeypatch):
    given = DataOptions(cache=str(tmp_path / "cache"), cache_always=False)

    def prepare(table):
        pixels = FourierPixels(BOX, 3)
        return prepared_images(table, ImageSource(table), given, pixels, "white", (0.0, 1.0))

    assert prepare(table).resident
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(memory, "free_device_memory", lambda _: 1000)
    # A stack read in its own order is as good as a copy.
    whole = table.replace(stack_id=np.zeros(50, np.int32), image_index=np.arange(50))
    assert isinstance(prepare(whole).source, ImageSource)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=8 * BOX**2 * 50 - 1))
    assert isinstance(prepare(table).source, ImageSource), "no room"
    monkeypatch.undo()
    monkeypatch.setattr(memory, "free_device_memory", lambda _: 1000)
    data = prepare(table)
    assert isinstance(data.source, CachedImages)
    assert not data.resident


@pytest.mark.parametrize("cached", [False, True])
def test_a_selection_is_streamed_in_shuffled_windows(table, tmp_path, cached):
    # As with --ind, --lazy and --shuffler-size together.
    given = DataOptions(lazy=True, cache=str(tmp_path / "cache") if cached else None)
    pixels, source = FourierPixels(BOX, 3), ImageSource(table)
    data = prepared_images(table, source, given, pixels, "white", (0.0, 1.0))
    order = shuffled_order(50, 1, 0, 5, 20)
    assert sorted(order) == list(range(50))
    assert (np.diff(np.sort(order[20:40])) == 1).mean() > 0.7, "a window is made of runs"
    plan = epoch_plan(order, 5)
    images = np.concatenate([np.asarray(x.images) for x in data.stream(plan, group=4)])
    np.testing.assert_array_equal(images, source.read(order))
