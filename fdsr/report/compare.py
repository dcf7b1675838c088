"""Runs that have been tested, compared: tables and figures in files, and all of it on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from fdsr.atomic import write_text
from fdsr.errors import FdsrError
from fdsr.records import RunFolder, SweepFolder, Table, join_tables
from fdsr.records.run_folder import TABLE
from fdsr.report.runs import TestedRun, find_runs, read_run
from fdsr.report.studies import Study, make_studies
from fdsr.report.tables import comparison_table, metric_table

T = TypeVar("T")


def report(inputs: Sequence[str | Path], output: Path | None = None, wandb: str | None = None) -> Path:
    """Compare runs, and tables of sweeps, on one page; prints the tables and where everything is. Returns the page.

    Args:
        inputs: directories of runs or of sweeps, and files called fid_vs_steps.csv.
        output: folder for page, tables and figures; default: the last of the inputs, or where the table lies.
        wandb: build the same in Weights & Biases as well, in this ENTITY/PROJECT; see fdsr.report.wandb.server.

    Raises FdsrError for an input that holds no results; and, once everything else is written, if Weights & Biases fails.
    """
    from fdsr.report.figures.distances import draw_sweep
    from fdsr.report.page import write_page
    from fdsr.report.pairs import TABLE as DIFFERENCES
    from fdsr.report.pairs import write_differences
    from fdsr.report.sweep_table import SweepTable
    from fdsr.report.wandb.server import place, publish

    if wandb is not None:
        place(wandb)  # one that makes no sense is refused before the work
    tables = [Path(p) for p in inputs if str(p).endswith(".csv") and Path(p).name != TABLE]
    folders = [Path(p) for p in inputs if Path(p) not in tables]
    # a sweep of images has no table of fields, only of distances
    tables += [SweepFolder(p).distances.path for p in folders if SweepFolder(p).distances.exists()]
    folders = [p for p in folders if not SweepFolder(p).distances.exists()]
    last = Path(inputs[-1])
    output = output or (last.parent if last.suffix == ".csv" else last)
    if output.is_file():
        raise FdsrError(f"--output '{output}' is a file; give a folder, where the page becomes report.html")
    runs = find_runs(folders)
    read = [read_run(run) for run in runs]
    studies = make_studies(read) if read else []
    sweeps = [SweepTable.read(table) for table in tables]
    for sweep, mark in _marked(sweeps):
        draw_sweep(sweep, output, mark)
    if read:
        compare_runs(read, studies, output)
    if pairs := write_differences(studies, output / DIFFERENCES):
        print(f"table:  {pairs}")
    page = write_page(studies, sweeps, output)
    print(f"page:   {page}")
    if wandb is not None:
        publish(wandb, studies, sweeps, output)
    return page


def compare_runs(runs: list[TestedRun], studies: Sequence[Study], output: Path) -> None:
    """Print the metric table of one run, or of several their tables and where the joint one is. Draws the last run's example."""
    from fdsr.drawing.png import save_panels
    from fdsr.report.figures import FIGURES
    from fdsr.report.figures.run import save_run

    output.mkdir(parents=True, exist_ok=True)
    alone = len(runs) == 1
    # figures and tables of one page's studies, of which there is mostly one
    for study, mark in _marked(studies):
        print(table := metric_table(runs[0]) if alone else comparison_table(study))
        if not alone:
            write_text(output / f"comparison{mark}.txt", table + "\n")
        for figure in FIGURES:
            if figure.file and (figure.alone or not alone) and (rows := figure.rows(study)):
                path = save_panels(rows, output / f"{figure.file}{mark}.png")
                print(f"figure: {path}")
    if alone:
        print(f"table:  {runs[0].folder.table}")
    else:
        joined = Table(output / "comparison.csv")
        join_tables([(r.folder.table, r.method, r.axes) for r in runs], {a: None for r in runs for a in r.axes}, joined)
        print(f"table:  {joined} and comparison.txt")
    # of several runs some may have been brought from elsewhere without their examples
    pictured = [run for run in runs if run.folder.example.exists()] or (runs if alone else [])
    if pictured:
        print(f"figure: {save_run(pictured[-1].folder, RunFolder(output).figure)}")


def _marked(several: Sequence[T]) -> list[tuple[T, str]]:
    """Each with what tells the files of several apart: -1, -2, …; nothing where there is but one."""
    return [(each, f"-{number}" if len(several) > 1 else "") for number, each in enumerate(several, start=1)]
