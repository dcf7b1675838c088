"""Figures of ranks and spectra in files: one line a method, a mean over its seeds."""

from pathlib import Path

from tested_runs import write_run, write_runs

from fdsr.report.figures import draw_ranks, draw_spectra
from fdsr.report.runs import read_run
from fdsr.report.studies import make_studies


def test_ensembles_have_a_figure_of_ranks_and_single_forecasts_none(tmp_path: Path) -> None:
    (study,) = make_studies([read_run(run) for run in write_runs(tmp_path / "runs")])
    path = draw_ranks(study, tmp_path / "ranks.png")
    assert path == tmp_path / "ranks.png" and path.stat().st_size > 5000
    assert draw_spectra(study, tmp_path / "spectra.png").stat().st_size > 5000
    old = write_run(tmp_path / "old", members=3, nfe=1, error=1.0)
    (old / "test_scores.nc").unlink()  # a run from before scores were kept
    (single,) = make_studies([read_run(run) for run in (tmp_path / "runs/bicubic", old)])
    assert draw_ranks(single, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
