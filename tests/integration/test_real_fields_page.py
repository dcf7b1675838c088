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
    twice = np.stack([2 * truth, -2 * truth])
    # power four times as large in every tile, so also in every draw
    np.testing.assert_allclose(tile_spectra(truth, twice, side=16, draws=5), 20 * np.log10(2))
    members = rng.standard_normal((2, 100, 70)).cumsum(2)
    found = tile_spectra(truth, members, side=16, draws=400)
    assert found.shape == (401,) and found[0] == pytest.approx(np.median(found), rel=0.5) and found[1:].std() > 0
    np.testing.assert_array_equal(found, tile_spectra(truth, members, side=16, draws=400))
    # one tile: nothing else can be drawn
    assert np.ptp(tile_spectra(truth[:16, :16], members[:, :16, :16], side=16, draws=9)) < 1e-12
