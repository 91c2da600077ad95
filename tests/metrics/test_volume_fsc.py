"""CryoBench's FSC and its area against closed forms and a plain full-transform version."""

import numpy as np
import pytest

from vitreous.metrics import cryobench_auc, cryobench_fsc, every_nth, fsc_area, per_image_auc


def plain_cryobench_fsc(first, second):
    """The published recipe, word for word, on full centred transforms."""
    n = len(first)
    x = np.arange(-(n // 2), n - n // 2)
    z, y, x = np.meshgrid(x, x, x, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    f, g = (np.fft.fftshift(np.fft.fftn(np.fft.fftshift(v))) for v in (first, second))
    curve, before = [1.0], np.zeros_like(radius, dtype=bool)
    for i in range(1, n // 2):
        mask = radius < i
        shell = mask & ~before
        before = mask
        cross = np.vdot(g[shell], f[shell])
        power = np.vdot(f[shell], f[shell]) * np.vdot(g[shell], g[shell])
        curve.append((cross / np.sqrt(power)).real)
    return np.array(curve)


@pytest.mark.parametrize("box", [16, 15])
def test_curve_equals_the_published_recipe(box):
    first, second = np.random.default_rng(box).standard_normal((2, box, box, box))
    second += first
    # The curve runs in float32.
    ours = cryobench_fsc(first, second)
    np.testing.assert_allclose(ours, plain_cryobench_fsc(first, second), atol=3e-6)


def test_perfect_score_is_the_box_limit_and_ignores_scale():
    volume = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    assert cryobench_auc(volume, volume * 7) == pytest.approx((16 - 1) / 32, abs=1e-6)
    # |FSC| forgives the sign, as CryoBench does; the house area does not.
    assert cryobench_auc(volume, -volume) == pytest.approx((16 - 1) / 32, abs=1e-6)
    assert fsc_area(cryobench_fsc(volume, volume)) == pytest.approx(1, abs=1e-6)
    assert fsc_area(cryobench_fsc(volume, -volume)) == pytest.approx(-1, abs=1e-6)


def test_a_band_limit_cuts_the_area_at_its_shell():
    box, band = 32, 9
    rng = np.random.default_rng(1)
    truth, other = rng.standard_normal((2, box, box, box))
    k = np.fft.fftfreq(box, 1 / box)
    low = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) < band
    mixed = np.fft.ifftn(np.where(low, np.fft.fftn(truth), np.fft.fftn(other))).real
    # Shells 0 … band agree exactly; the others are chance, about 1/sqrt(voxels in the shell).
    curve = cryobench_fsc(mixed, truth)
    np.testing.assert_allclose(curve[: band + 1], 1, atol=1e-5)
    assert np.max(np.abs(curve[band + 1 :])) < 0.15


def test_mask_is_applied_to_both():
    truth, noise = np.random.default_rng(2).standard_normal((2, 16, 16, 16))
    mask = np.zeros((16, 16, 16))
    mask[4:12, 4:12, 4:12] = 1
    assert cryobench_auc(truth + noise * (1 - mask), truth, mask) == pytest.approx(7 / 16)


def test_per_image_scores_follow_the_labels():
    volumes = np.random.default_rng(3).standard_normal((3, 8, 8, 8)).astype(np.float32)
    labels = np.array([2, 0, 1, 1, 2, 0])
    latent = np.array([2, 0, 1, 0, 2, 0], np.float32)[:, None]  # image 3 is placed wrongly
    scores = per_image_auc(
        lambda z: volumes[z[:, 0].astype(int)], latent, volumes, labels, np.arange(6), batch=4
    )
    right = np.array([True, True, True, False, True, True])
    np.testing.assert_allclose(scores[right], 3 / 8, atol=1e-6)
    assert scores[3] < 0.3


def test_stride_is_cryobench_s():
    assert len(every_nth(335_240, 100)) == 101
    assert every_nth(335_240, 100)[1] == 3352
    np.testing.assert_array_equal(every_nth(2000, 20), np.arange(0, 2000, 100))
    np.testing.assert_array_equal(every_nth(3, 20), [0, 1, 2])
