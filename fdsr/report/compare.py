"""Runs that have been tested, compared: tables and figures in files, and all of it on one page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fdsr.atomic import write_text
from fdsr.report.runs import TABLE, TestedRun, find_runs, labels, read_run
from fdsr.report.tables import Row, comparison_table, metric_table

FID_TABLE = "fid_vs_steps.csv"


def report(inputs: Sequence[str | Path], output: Path | None = None, wandb: str | None = None) -> Path:
    """Compare runs, and tables of sweeps, on one page; prints the tables and where everything is. Returns the page.

    Args:
        inputs: directories of runs or of sweeps, and files called fid_vs_steps.csv.
        output: folder for page, tables and figures; default: the last of the inputs, or where the table lies.
        wandb: build the same in Weights & Biases as well, in this ENTITY/PROJECT; see fdsr.report.wandb_server.

    Raises FdsrError for an input that holds no results; and, once everything else is written, if Weights & Biases fails.
    """
    from fdsr.report.page import write_page
    from fdsr.report.studies import make_studies
    from fdsr.report.sweep_figures import draw_sweep
    from fdsr.report.wandb_server import place, publish

    if wandb is not None:
        place(wandb)  # one that makes no sense is refused before the work
    tables = [Path(p) for p in inputs if str(p).endswith(".csv") and Path(p).name != TABLE]
    folders = [Path(p) for p in inputs if Path(p) not in tables]
    # a sweep of images has no table of fields, only of distances
    tables += [p / FID_TABLE for p in folders if (p / FID_TABLE).is_file()]
    folders = [p for p in folders if not (p / FID_TABLE).is_file()]
    last = Path(inputs[-1])
    output = output or (last.parent if last.suffix == ".csv" else last)
    runs = find_runs(folders)
    studies = make_studies([read_run(run) for run in runs]) if runs else []
    for table in tables:
        draw_sweep(table, output)
    if runs:
        compare_runs(runs, output)
    page = write_page(studies, tables, output)
    print(f"page:   {page}")
    if wandb is not None:
        publish(wandb, studies, tables, output)
    return page


def compare_runs(runs: list[Path], output: Path) -> None:
    """Print the metric table of `runs`; several are joined and written to `output`. Draws the last run's example."""
    from fdsr.report.figures import draw_ranks, draw_run, draw_spectra

    read = {run: read_run(run) for run in runs}
    output.mkdir(parents=True, exist_ok=True)
    if len(runs) == 1:
        print(metric_table(_rows(read[runs[0]], read[runs[0]].folder.name)))
        print(f"table:  {runs[0] / TABLE}")
    else:
        for number, group in enumerate(alike := _alike(read)):
            # figures and tables of one page's studies, of which there is mostly one
            mark = f"-{number + 1}" if len(alike) > 1 else ""
            named = labels(group)
            table = comparison_table([row for run in group for row in _rows(read[run], named[run])])
            print(table)
            write_text(output / f"comparison{mark}.txt", table + "\n")
            print(f"figure: {draw_spectra(group, output / f'spectra{mark}.png')}")
        _join([run / TABLE for run in runs], output / "comparison.csv")
        print(f"table:  {output / 'comparison.csv'} and comparison.txt")
    for number, group in enumerate(alike := _alike(read)):
        if ranks := draw_ranks(group, output / f"ranks{f'-{number + 1}' if len(alike) > 1 else ''}.png"):
            print(f"figure: {ranks}")
    print(f"figure: {draw_run(runs[-1], output / 'figure.png')}")


def _alike(read: dict[Path, TestedRun]) -> list[list[Path]]:
    """Runs of the same variables: others have no common table."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path, run in read.items():
        groups.setdefault((run.fingerprint, *run.variables), []).append(path)
    return list(groups.values())


def _rows(run: TestedRun, name: str) -> list[Row]:
    return [
        Row(name, variable, metric, value, run.members, run.nfe) for (metric, variable), value in run.values.items()
    ]


def _join(tables: list[Path], path: Path) -> None:
    """One CSV of several; a column that one of them lacks stays empty there."""
    rows, fields = [], dict[str, None]()
    for table in tables:
        with table.open(newline="") as file:
            reader = csv.DictReader(file)
            rows += list(reader)
        fields |= dict.fromkeys(reader.fieldnames or ())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(fields), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())
