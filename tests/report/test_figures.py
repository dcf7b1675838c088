"""Figures of a study: what is drawn on plain axes, and that nothing is drawn of what was not tested."""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tested_runs import VARIABLES, write_run, write_runs

from fdsr.drawing.png import save_panels
from fdsr.drawing.style import Panel
from fdsr.report.figures import FIGURES
from fdsr.report.figures.ranks import RANKS
from fdsr.report.figures.spectra import SPECTRA, draw_power, draw_power_ratios
from fdsr.report.runs import read_run
from fdsr.report.studies import Study, make_studies


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    (found,) = make_studies([read_run(run) for run in write_runs(tmp_path_factory.mktemp("runs"))])
    return found


def test_ensembles_have_a_figure_of_ranks_and_single_forecasts_none(study: Study, tmp_path: Path) -> None:
    (panels,) = RANKS.rows(study)
    assert [panel.title for panel in panels] == list(VARIABLES) and "bicubic" not in panels[0].alt
    ax = plt.Figure().subplots()
    panels[1].draw(ax)
    assert len(ax.patches) == 3  # ddgan, and ddpm at two numbers of evaluations
    (ddgan,) = (e for e in study.entries if e.label == "ddgan")
    frequency = ddgan.scores("rank_histogram")["rank_histogram"].sel(variable="u10").values  # type: ignore[index]
    values = {patch.get_gid(): patch.get_data().values for patch in ax.patches}  # type: ignore[attr-defined]
    np.testing.assert_allclose(values[f"series{study.looks['ddgan'].index}"], 5 * frequency)
    old = write_run(tmp_path / "old", members=3, nfe=1, error=1.0)
    (old / "test_scores.nc").unlink()  # a run from before scores were kept
    (single,) = make_studies([read_run(run) for run in (study.entries[0].runs[0].folder.path, old)])
    assert RANKS.rows(single) == []


def test_spectra_are_of_one_band_and_end_at_the_truth(study: Study) -> None:
    ratios, powers = SPECTRA.rows(study)
    assert [p.title for p in (ratios[0], powers[1])] == ["t2m at 45°: power ratio", "u10 at 45°: power"]
    ax = plt.Figure().subplots()
    powers[1].draw(ax)
    assert "(m s-1)² km²" in ax.get_ylabel() and len(ax.lines) == len(study.entries) + 1
    low, high = ax.get_xlim()
    assert low > high  # long waves first
    bands = study.entries[0].scores("spectrum")
    assert bands is not None
    reference = bands.spectrum_reference.sel(variable="u10").values.ravel()
    assert set(ax.lines[-1].get_ydata()) <= set(reference)


@pytest.mark.parametrize("power", [np.nan, 0.0])
def test_spectra_that_nobody_knows_are_drawn_empty(study: Study, power: float, tmp_path: Path) -> None:
    """Of a masked variable whose every box touches a gap; of a variable that is zero at all times."""
    entry = study.entries[0]
    bands = entry.scores("spectrum")
    assert bands is not None
    band = bands.isel(band=0).sel(variable="u10") * 0.0 + power
    band["wavenumber"] = bands.isel(band=0).wavenumber
    look = study.looks[entry.label]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (1 / band.wavenumber.values[1:], 10 * np.log10(np.full(band.wavenumber.size - 1, power)))
    draws = (
        partial(draw_power, powers={look: band.spectrum}, unit="K"),
        partial(draw_power_ratios, ratios={look: ratio}),
    )
    assert save_panels([[Panel(str(n), draw, "", [look]) for n, draw in enumerate(draws)]], tmp_path / "a.png").exists()


def test_every_figure_can_be_a_file(study: Study, tmp_path: Path) -> None:
    drawn = {figure.heading: rows for figure in FIGURES if (rows := figure.rows(study))}
    assert list(drawn) == ["Quality against cost", "Each variable", "Spectra", "Rank histograms"]  # nothing was trained
    for number, rows in enumerate(drawn.values()):
        picture = plt.imread(save_panels(rows, tmp_path / f"{number}.png"))
        assert picture.shape[0] > 200 and picture.min() < 0.2 < 0.9 < picture.max()
