"""Batches: the same whether the images lie on the device or come from disk."""

import numpy as np
import pytest
from toy import ToySource, toy_table

from vitreous.errors import InputError
from vitreous.particles.loader import PreparedImages
from vitreous.particles.order import epoch_plan, shuffled_order
from vitreous.training.evaluate import map_images


def both(count=21, **options):
    table = toy_table(count)
    return [
        PreparedImages.build(table, ToySource(count), resident=resident, **options)
        for resident in (True, False)
    ]


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_resident_and_streamed_give_the_same_batches(storage):
    resident, streamed = both(storage=storage)
    for a, b in zip(resident.in_order(8), streamed.in_order(8), strict=True):
        for left, right in zip(a[:-1], b[:-1], strict=True):
            np.testing.assert_array_equal(left, right)


def test_rows_keep_their_columns():
    _, data = both()
    batches = list(data.in_order(8))
    assert [int(b.weight.sum()) for b in batches] == [8, 8, 5]
    index = np.concatenate([b.index for b in batches])[:21]
    assert np.array_equal(index, np.arange(21))
    for batch in batches:
        rows = np.asarray(batch.index)
        np.testing.assert_array_equal(batch.shift, np.stack([rows, -rows], 1))
        np.testing.assert_array_equal(batch.ctf.defocus_u, 1e4 + rows)
        np.testing.assert_array_equal(batch.pixel_size, 2.0)


def test_stream_starts_anywhere_and_follows_the_plan():
    _, data = both()
    plan = epoch_plan(shuffled_order(21, 0, 4), 8)
    images = [np.asarray(x.images) for x in data.stream(plan, first=1)]
    assert len(images) == 2
    np.testing.assert_array_equal(images[0], data.source.images[plan.rows[1]])
    np.testing.assert_array_equal(images[1], data.source.images[plan.rows[2]])


def test_groups_read_runs_and_change_nothing():
    data = PreparedImages.build(toy_table(512), ToySource(512), resident=False)
    plan = epoch_plan(shuffled_order(512, 0, 0, chunk=16, buffer=128), 8)
    data.source.reads.clear()
    grouped = [np.asarray(x.images) for x in data.stream(plan, first=5, group=16)]
    first = np.sort(data.source.reads[0])
    assert len(first) == 128
    # 8 runs of 16; the cut at the ends of the set can make one more.
    assert np.count_nonzero(np.diff(first) != 1) <= 8
    single = [np.asarray(x.images) for x in data.stream(plan, first=5)]
    np.testing.assert_array_equal(grouped, single)


@pytest.mark.parametrize("which", [0, 1])
def test_map_images_gives_one_row_a_particle(which):
    data = both()[which]
    result = map_images(lambda p, batch: (batch.index, p * batch.shift), np.float32(2), data, 8)
    np.testing.assert_array_equal(result[0], np.arange(21))
    np.testing.assert_array_equal(result[1][:, 0], 2 * np.arange(21))


def test_numbers_of_an_earlier_run_are_used():
    first = both()[0]
    again = PreparedImages.build(
        toy_table(21), ToySource(21, scale=9), normalization=first.normalization, resident=True
    )
    assert again.normalization == first.normalization


def test_unusable_sets_are_refused():
    table = toy_table(6)
    with pytest.raises(InputError, match="6 rows but 5 images"):
        PreparedImages.build(table, ToySource(5))
    with pytest.raises(InputError, match="no particles"):
        PreparedImages.build(table.select([]), ToySource(0))
    boxes = table.replace(box=np.array([16, 16, 16, 20, 20, 20], np.int32))
    with pytest.raises(InputError, match="downsample"):
        PreparedImages.build(boxes, ToySource(6))
    sizes = table.replace(pixel_size=np.array([2, 2, np.nan, 2, 2, 2]))
    with pytest.raises(InputError, match="row 102 has no pixel size"):
        PreparedImages.build(sizes, ToySource(6))


@pytest.mark.parametrize("resident", [True, False])
def test_nan_pixels_stop_the_reader_with_their_name(resident):
    source = ToySource(2100)
    # An image that the estimate of the normalisation does not look at.
    source.images[1, 2, 2] = np.nan

    def read_all():
        list(PreparedImages.build(toy_table(2100), source, resident=resident).in_order(512))

    with pytest.raises(InputError, match="image 2 holds NaN"):
        read_all()
