"""Schedules against their closed forms."""

import numpy as np
import pytest

from vitreous.training.schedules import linear_ramp, warmup_decay


@pytest.mark.parametrize("decay, at_half", [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_warm_up_and_decay(decay, at_half):
    rate = lambda p: float(warmup_decay(p, 2e-3, warmup=0.1, decay=decay, final=0.1))  # noqa: E731
    assert rate(0.0) == 0
    assert rate(0.05) == pytest.approx(1e-3)
    assert rate(0.1) == pytest.approx(2e-3)
    assert rate(0.55) == pytest.approx(2e-3 * (0.1 + 0.9 * at_half), rel=1e-5)
    assert rate(1.0) == pytest.approx(2e-3 if decay == "constant" else 2e-4, rel=1e-5)


def test_cosine_at_a_quarter():
    expected = 0.5 * (1 + np.cos(np.pi / 4))
    assert float(warmup_decay(0.25, 1.0, warmup=0.0)) == pytest.approx(expected, rel=1e-6)


def test_linear_ramp_is_flat_outside():
    values = [float(linear_ramp(x, 2.0, 4.0, 0.001, 15.0)) for x in (0, 2, 3, 4, 9)]
    np.testing.assert_allclose(values, [0.001, 0.001, 7.5005, 15, 15], rtol=1e-6)
