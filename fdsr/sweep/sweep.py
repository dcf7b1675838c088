"""`fdsr sweep`: run what is left of a sweep, and keep its table."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from fdsr.errors import FdsrError, choose, require_at_least
from fdsr.sweep.grid import Point, Sweep, read_sweep
from fdsr.sweep.runner import PROGRAM, Runner
from fdsr.sweep.table import TABLES, Result


def run_sweep(
    path: str | Path,
    output: str | Path | None = None,
    jobs: int = 1,
    only: str | None = None,
    dry_run: bool = False,
    program: Sequence[str] = PROGRAM,
) -> Path:
    """Run the points of a sweep file that are not finished and write the table; returns the table's path.

    Args:
        output: the sweep's folder; default runs/ and the file's name.
        jobs: points side by side.
        only: run only the points whose names match this pattern; the table has all that are finished.
        dry_run: print what would be run, and do nothing.

    Raises FdsrError for a file that makes no sense, and, when all is done, if a point has failed.
    """
    sweep = read_sweep(path)
    choose(TABLES, sweep.table, f"{path}: table")
    require_at_least(1, "--", jobs=jobs)
    points = [p for p in sweep.points if only is None or fnmatch(p.name, only)]
    if not points:
        raise FdsrError(f"no point is called '{only}'; the names are {', '.join(p.name for p in sweep.points)}")
    runner = Runner(Path(output) if output else Path("runs") / Path(path).stem, jobs, program, sweep.points)
    table = runner.output / f"{sweep.table}.csv"
    if dry_run:
        _list(runner, points)
        return table
    with _interruptible():
        failed = runner.run(points, lambda: write_table(sweep, runner))
    write_table(sweep, runner)
    print(f"table: {table}")
    if failed:
        raise FdsrError(f"{len(failed)} of {len(points)} points failed; mend them and give the command again")
    return table


def write_table(sweep: Sweep, runner: Runner) -> None:
    """The table of all tests that have been made."""
    results = [
        Result(e.method, e.axes, runner.folder(p), runner.test_folder(p, e))
        for p in sweep.points
        for e in p.evaluations
        if runner.tested(p, e)
    ]
    TABLES[sweep.table](results, sweep.axes, runner.output)


def _list(runner: Runner, points: Sequence[Point]) -> None:
    for point in points:
        print(f"{runner.state(point):8}  {point.name}")
        if runner.finished(point):
            continue
        commands = [] if runner.fitted(point) else [runner.fit_command(point)]
        commands += [runner.test_command(point, e) for e in point.evaluations if not runner.tested(point, e)]
        for command in commands:
            print(f"          {shlex.join(['fdsr', *command[len(runner.program) :]])}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """A batch system's request to end is handled as an interrupt from the keyboard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
