"""What is done to maps before writing: closed forms, and the place of every density kept."""

import numpy as np
import pytest
from toy_landscape import ball

from vitreous.analysis.postprocess import VolumeOptions, low_pass, process_volume
from vitreous.errors import InputError
from vitreous.geometry.hand import mirror


def centre_of_mass(volume, voxel_size, origin):
    """Where the density lies in the frame of the file, Å, (x, y, z)."""
    grid = np.indices(volume.shape)[::-1].reshape(3, -1)
    return (grid * volume.ravel()).sum(axis=1) / volume.sum() * voxel_size + np.array(origin)


@pytest.mark.parametrize(
    ("box", "options"),
    [
        (24, VolumeOptions(downsample=16)),
        (24, VolumeOptions(downsample=15)),
        (25, VolumeOptions(downsample=16)),
        (24, VolumeOptions(crop=18)),
        (25, VolumeOptions(crop=17)),
        (24, VolumeOptions(downsample=18, crop=13, low_pass=12.0)),
    ],
)
def test_density_stays_where_it_is(box, options):
    volume = ball(1, -2, 1.5, sigma=1.6, box=box)
    before = centre_of_mass(volume, 2.0, (0, 0, 0))
    treated, size, origin = process_volume(volume, 2.0, options)
    assert len(treated) == (options.crop or options.downsample)
    assert size == pytest.approx(2.0 * box / (options.downsample or box))
    # Tails cut by the crop and rings of the sharp cut move the mean by hundredths of Å.
    np.testing.assert_allclose(centre_of_mass(treated, size, origin), before, atol=0.15)


@pytest.mark.parametrize("box", [16, 17])
def test_mirror_turns_z_about_the_centre(box):
    np.testing.assert_allclose(mirror(ball(2, 1, 2, 1.2, box)), ball(2, 1, -2, 1.2, box), atol=1e-4)
    volume = np.random.default_rng(0).standard_normal((box, box, box)).astype(np.float32)
    np.testing.assert_array_equal(mirror(mirror(volume)), volume)


def test_low_pass_halves_the_wave_at_its_resolution():
    x = np.arange(32)
    wave = np.broadcast_to(np.cos(2 * np.pi * 4 * x / 32), (32, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(low_pass(wave, 2.0, 16.0), 0.5 * wave, atol=1e-6)
    np.testing.assert_allclose(low_pass(1 + 0 * wave, 2.0, 16.0), 1, atol=1e-6)


def test_flip_and_invert():
    volume = ball(0, 0, 3)
    treated, size, origin = process_volume(volume, 2.0, VolumeOptions(flip=True, invert=True))
    np.testing.assert_array_equal(treated, -mirror(volume))
    assert (size, origin) == (2.0, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (VolumeOptions(downsample=40), "--downsample 40"),
        (VolumeOptions(downsample=16, crop=20), "--crop 20"),
        (VolumeOptions(low_pass=3.9), "--low-pass 3.9"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        options.check(32, 2.0)
