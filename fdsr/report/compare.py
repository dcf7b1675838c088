"""One table and one figure of runs that have been tested."""

from __future__ import annotations

import csv
from pathlib import Path

from fdsr.errors import FdsrError
from fdsr.report.tables import Row, comparison_table, metric_table


def compare_runs(runs: list[Path], output: Path) -> None:
    """Print the metric table of `runs`; several are joined and written to `output`. Draws the last run's example."""
    from fdsr.report.figures import draw_ranks, draw_run, draw_spectra

    rows = [row for run in runs for row in read_metrics(run)]
    output.mkdir(parents=True, exist_ok=True)
    if len(runs) == 1:
        print(metric_table(rows))
        print(f"table:  {output / 'test_metrics.csv'}")
    else:
        table = comparison_table(rows)
        print(table)
        (output / "comparison.txt").write_text(table + "\n")
        _join([run / "test_metrics.csv" for run in runs], output / "comparison.csv")
        print(f"table:  {output / 'comparison.csv'} and comparison.txt")
        print(f"figure: {draw_spectra(runs, output / 'spectra.png')}")
    if ranks := draw_ranks(runs, output / "ranks.png"):
        print(f"figure: {ranks}")
    print(f"figure: {draw_run(runs[-1], output / 'figure.png')}")


def _join(tables: list[Path], path: Path) -> None:
    """One CSV of several with the same header."""
    texts = [t.read_text().splitlines() for t in tables]
    path.write_text("\n".join([texts[0][0], *(line for text in texts for line in text[1:])]) + "\n")


def read_metrics(run: Path) -> list[Row]:
    """The rows of a run's test_metrics.csv. Raises FdsrError if it has not been tested."""
    path = run / "test_metrics.csv"
    if not path.is_file():
        raise FdsrError(f"run '{run}' has no test_metrics.csv; score it first with 'fdsr test'")
    with path.open(newline="") as file:
        return [
            Row(r["method"], r["variable"], r["metric"], float(r["value"]), int(r["members"]), int(r["nfe"]))
            for r in csv.DictReader(file)
        ]
