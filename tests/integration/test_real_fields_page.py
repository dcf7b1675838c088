"""What the page of the study of real fields computes by itself."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "real_fields.py"


def test_spectra_of_tiles_drawn_again() -> None:
    tile_spectra = runpy.run_path(str(SCRIPT))["tile_spectra"]
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((100, 70)).cumsum(1)
    # power four times as large in every tile, so also in every draw
    for values in tile_spectra(truth, np.stack([2 * truth, -2 * truth]), side=16, draws=5).values():
        np.testing.assert_allclose(values, 20 * np.log10(2))
    members = rng.standard_normal((2, 100, 70)).cumsum(2)
    found, again = (tile_spectra(truth, members, side=16, draws=400) for _ in range(2))
    for name, values in found.items():
        assert values.shape == (401,) and values[1:].std() > 0
        np.testing.assert_array_equal(values, again[name])
    assert found["each"][0] == pytest.approx(found["each"].mean(), rel=0.05)
    assert found["each"][0] > found["pooled"][0]  # chance, which the mean power of many tiles has little of
    # half of the tiles twice as strong, half of them half: the spectrum of all hides what each of them shows
    uneven = np.where(np.arange(100)[:, None] < 48, 2.0, 0.1) * truth
    one = tile_spectra(truth, np.stack([uneven, uneven]), side=16, draws=9)
    assert one["each"][0] > one["pooled"][0] + 5
    # one tile: nothing else can be drawn
    assert np.ptp(tile_spectra(truth[:16, :16], members[:, :16, :16], side=16, draws=9)["pooled"]) < 1e-12
