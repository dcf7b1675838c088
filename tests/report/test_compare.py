"""Tables and figures in files: one line a method, and one table for each set of fields."""

from pathlib import Path
from statistics import fmean

import pytest
from tested_runs import write_run, write_runs

from fdsr.errors import FdsrError
from fdsr.report.compare import report
from fdsr.report.runs import read_run


def cells(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{label}  ")]
    return line.removeprefix(label).split()


def test_seeds_are_one_line_and_other_fields_another_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write_runs(tmp_path / "runs")
    other = write_run(tmp_path / "runs/regression", members=1, nfe=1, error=1.0, fingerprint="other")
    report([*runs, other], tmp_path / "out")
    found = {p.name for p in (tmp_path / "out").iterdir()}
    assert found == {
        "comparison-1.txt", "comparison-2.txt", "comparison.csv", "spectra-1.png", "spectra-2.png", "ranks-1.png",
        "figure.png", "differences.csv", "report.html",
    }  # fmt: skip
    text = (tmp_path / "out/comparison-1.txt").read_text()
    assert text in capsys.readouterr().out
    seeds = [read_run(run) for run in runs if run.name == "ddpm-nfe=8"]
    values = [fmean(run.values["crps", name] for run in seeds) for name in ("t2m", "u10")]
    assert cells(text, "ddpm, 8 NFE")[:5] == ["4", "8", "3", *(f"{v:.4g}" for v in values)]
    # the yardstick is bicubic's own error, wherever it stands among the runs
    assert cells(text, "bicubic")[5] == "1.000*" and "/ MAE bicubic" in text
    alone = (tmp_path / "out/comparison-2.txt").read_text()
    assert "seeds" not in alone and cells(alone, "regression")[4] == "1.000*"


def test_a_single_run_shows_every_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "ddpm", members=3, nfe=5, error=1.0)
    report([run])
    text = capsys.readouterr().out
    value = read_run(run).values["rmse", "t2m"]
    assert "ddpm: 3 members, 5 network evaluations each" in text and cells(text, "rmse")[0] == f"{value:.4g}"
    assert not (run / "comparison.csv").exists() and (run / "report.html").is_file()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("")
    with pytest.raises(FdsrError, match=r"page.html' is a file; give a folder"):
        report(write_runs(tmp_path / "runs"), tmp_path / "page.html")
