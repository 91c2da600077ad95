import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.reconstruction.curves import plot_curves, read_curves, write_curves
from vitreous.reconstruction.fsc import crossing, fourier_shell_correlation, fsc_shells, resolution
from vitreous.reconstruction.fsc_correction import (
    corrected_fsc,
    masked_curves,
    randomise_phases,
)
from vitreous.reconstruction.masks import spherical_mask


def noise(seed: int, box: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (box, box, box))


def direct_fsc(a: np.ndarray, b: np.ndarray, shell_of) -> np.ndarray:
    """The definition on the whole, un-halved space, in float64."""
    box = len(a)
    fa, fb = (np.fft.fftshift(np.fft.fftn(v.astype(np.float64))) for v in (a, b))
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2)
    shell = shell_of(radius)
    curve = [1.0]
    for i in range(1, box // 2):
        x, y = fa[shell == i], fb[shell == i]
        norm = np.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum())
        curve.append((x * y.conj()).real.sum() / norm)
    return np.array(curve)


@pytest.mark.parametrize("box", [12, 13])
def test_half_space_sums_equal_the_definition_on_the_whole_space(box):
    a = noise(0, box)
    b = a + 0.7 * noise(1, box)
    rounded = fourier_shell_correlation(a, b)
    np.testing.assert_allclose(rounded, direct_fsc(*map(np.asarray, (a, b)), np.rint), atol=1e-5)
    peer = fourier_shell_correlation(a, b, "cryobench")
    by_floor = direct_fsc(*map(np.asarray, (a, b)), lambda r: np.floor(r) + 1)
    np.testing.assert_allclose(peer, by_floor, atol=1e-5)


def test_fsc_of_noisy_pairs_is_snr_over_one_plus_snr():
    box, snr = 24, 0.8
    signal = np.sqrt(snr) * noise(2, box)
    curve = np.asarray(fourier_shell_correlation(signal + noise(3, box), signal + noise(4, box)))
    expected = snr / (1 + snr)
    counts = np.bincount(fsc_shells(box).ravel(), minlength=12)[:12]
    # Half-space voxels are independent: the spread is about 1 / √count.
    z = (curve[3:] - expected) * np.sqrt(counts[3:]) / (1 - expected**2)
    assert np.abs(z).max() < 4
    assert abs(np.average(curve[3:], weights=counts[3:]) - expected) < 0.02


def test_batches_agree_with_single_volumes_and_empty_shells_follow_the_rule():
    a, b = noise(5, 8), noise(6, 8)
    both = fourier_shell_correlation(jnp.stack([a, b]), jnp.stack([b, b]))
    np.testing.assert_allclose(both[0], fourier_shell_correlation(a, b), atol=1e-6)
    np.testing.assert_allclose(both[1], np.ones(4), atol=1e-6)
    zero = jnp.zeros_like(a)
    np.testing.assert_array_equal(fourier_shell_correlation(a, zero), [1, 0, 0, 0])
    np.testing.assert_array_equal(fourier_shell_correlation(a, zero, "cryobench"), np.ones(4))


def test_resolution_is_that_of_the_first_crossing_interpolated():
    curve = np.array([1.0, 0.9, 0.6, 0.4, 0.8, 0.1])
    assert crossing(curve, 0.5) == pytest.approx(2.5)
    # Shell 2.5 of a box of 12 voxels of 2 Å.
    assert resolution(curve, 2.0, 0.5) == pytest.approx(24 / 2.5)
    assert resolution(curve, 2.0, 0.5, box=13) == pytest.approx(26 / 2.5)
    assert crossing(curve, 0.05) is None
    assert resolution(curve, 2.0, 0.05) == 4.0
    assert crossing(np.array([1.0, np.nan, 0.2]), 0.5) == 1.0
    assert crossing(np.array([1.0, 0.2, 0.1]), 0.5) == pytest.approx(0.625)


def test_random_phases_keep_amplitudes_and_low_shells_and_lose_correlation():
    box = 16
    a = noise(7, box)
    random = randomise_phases(jax.random.key(1), a, 4.0)
    amplitude = [np.abs(np.fft.rfftn(v)) for v in (a, random)]
    # Were the phases not Friedel-symmetric, the way back to real space would lose power.
    np.testing.assert_allclose(*amplitude, rtol=2e-3, atol=2e-3)
    curve = np.asarray(fourier_shell_correlation(a, random))
    np.testing.assert_allclose(curve[:4], 1, atol=1e-5)
    assert np.abs(curve[4:]).max() < 0.3


def test_correction_takes_off_the_correlation_that_a_tight_mask_makes():
    box = 24
    mask = jnp.asarray(spherical_mask(box, 3.0, 1.0))
    a, b = noise(8, box), noise(9, box)
    masked = np.asarray(fourier_shell_correlation((a + 3) * mask, (b + 3) * mask))
    corrected = np.asarray(corrected_fsc(a + 3, b + 3, mask, 2.0, jax.random.key(0)))
    assert masked[4:8].mean() > 0.3
    assert corrected[5:].mean() < 0.5 * masked[5:].mean()
    np.testing.assert_allclose(corrected[:4], masked[:4], atol=1e-6)


def test_masked_curves_have_the_columns_users_know_and_survive_the_text_file(tmp_path):
    box = 24
    ball = spherical_mask(box, 5.0, 2.0)
    a, b = (np.asarray(ball + 0.1 * noise(seed, box)) for seed in (10, 11))
    curves = masked_curves(a, b, ball, 4.0)
    assert list(curves) == ["NoMask", "Spherical", "Loose", "Tight", "Corrected"]
    write_curves(tmp_path / "fsc-vals.txt", curves, box)
    header = (tmp_path / "fsc-vals.txt").read_text().splitlines()[0]
    assert header == "pixres NoMask Spherical Loose Tight Corrected"
    frequency, again = read_curves(tmp_path / "fsc-vals.txt")
    np.testing.assert_allclose(frequency, np.arange(12) / 24, atol=1e-5)
    for name, curve in curves.items():
        np.testing.assert_allclose(again[name], curve, atol=1e-5)
        assert curve[0] == 1
    # The masks hold all of the signal and little of the noise.
    assert curves["Tight"][2] > curves["NoMask"][2]
    plot_curves(tmp_path / "fsc.png", curves, 4.0, box, "title")
    assert (tmp_path / "fsc.png").stat().st_size > 5000


@pytest.mark.parametrize("text", ["", "a b\n1 2\n", "pixres fsc\n0 1 2\n", "pixres fsc\n0 x\n"])
def test_a_file_that_is_no_fsc_table_is_named(tmp_path, text):
    path = tmp_path / "curve.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"curve\.txt"):
        read_curves(path)
