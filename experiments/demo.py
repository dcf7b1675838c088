"""The main job on the embedded sample, start to finish: every step is a command that a user could type.

Run by `make demo`. Two rows of commands go side by side, a core each. A step whose result exists is skipped, so an interrupted
demo goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from fdsr.records import RunFolder

RUNS = Path("runs/demo")
# each row in order: the longest way, over both stages, and beside it all else
ROWS = (
    ("regression fit", "two_stages_sr fit", "two_stages_sr test"),
    (
        "bicubic test",
        "crps_sr fit",
        "crps_sr test",
        "regression_dressed fit",
        "regression_dressed test",
        "two_stages_sr predict",
    ),
)
TABLE = ("bicubic", "regression_dressed", "crps_sr", "two_stages_sr")
FIRST_STAGE, BEST = RunFolder(RUNS / "regression"), RunFolder(RUNS / "two_stages_sr")
FIRST_WORDS = """Four ways to refine one week of ERA5 by a factor of four: bicubic interpolation; a regression dressed in noise; an ensemble
in one pass; diffusion over the regression. Two processes train, test and predict side by side: five to nine minutes on two cores.
"""
LAST_WORDS = f"""ensemble: {BEST.prediction} (xarray.open_zarr opens it)

Next: look at the figure, open the page in a browser, then
  . .venv/bin/activate
  fdsr predict --config experiments/two_stages_long.yaml --ckpt_path experiments/pretrained/two_stages_x4
                          # the last method again, with weights that were trained longer
  fdsr prepare --help     # pairs from your own data; data/preparing.md has examples
"""


class Step(NamedTuple):
    """A command, the file that shows it was done, one that must be there before, and on how many threads it runs."""

    command: list[str]
    result: Path
    needs: Path | None = None
    threads: int = 1  # which is fastest for networks as small, two trainings side by side


def step(name: str) -> Step:
    """Of a method and a verb."""
    method, verb = name.split()
    folder = RunFolder(RUNS / method)
    command = [verb, "--config", f"experiments/{method}.yaml", "--run", str(folder)]
    needs = folder.fitted.path if verb != "fit" and method != "bicubic" else None
    if method == "regression_dressed":
        command += ["--model.mean", str(FIRST_STAGE.last_checkpoint)]
    if method == "two_stages_sr":
        command += ["--model.regression_ckpt", str(FIRST_STAGE.last_checkpoint)]
    if verb == "test":
        # the last of all has the other row's core too
        return Step(command, folder.table.path, needs, threads=2 if folder.path == BEST.path else 1)
    if verb == "predict":  # one time: the test makes the others
        command += ["--output", str(folder.prediction), "--trainer.limit_predict_batches", "1"]
        return Step(command, folder.prediction, needs)
    if folder.last_checkpoint.exists():  # a fit that was cut off is continued from its last checkpoint
        command += ["--ckpt_path", "last"]
    of_two = method in ("regression_dressed", "two_stages_sr")
    return Step(command, folder.fitted.path, FIRST_STAGE.fitted.path if of_two else None)


def left(row: tuple[str, ...]) -> list[Step]:
    return [s for s in map(step, row) if not s.result.exists()]


@contextmanager
def words_to(log: Path) -> Iterator[None]:
    """What is written to the terminal meanwhile, whoever writes it, goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with log.open("wb") as file:
        for descriptor in terminal:
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, own in terminal.items():
                os.dup2(own, descriptor)
                os.close(own)


def share(event: Event) -> None:
    """Give a process the event that tells the others of a failure."""
    global failed
    failed = event


def run_row(row: tuple[str, ...], begin: float) -> int:
    """Run what is left of a row, each command with a log beside its result, when what it begins from is there; the last's status."""
    import torch

    from fdsr.cli import main as fdsr

    for command, result, needs, threads in left(row):
        while needs is not None and not needs.exists():
            if failed.wait(0.2):  # in the other row
                return 0
        log = RunFolder(RUNS / result.relative_to(RUNS).parts[0]).log(command[0])
        minutes, seconds = divmod(int(time.time() - begin), 60)
        print(f"[{minutes}:{seconds:02d}] $ fdsr {' '.join(command)}", flush=True)
        status = 1
        torch.set_num_threads(threads)
        try:
            with words_to(log):
                status = fdsr(command)
        finally:
            if status:
                failed.set()
        if status:
            print(f"{log}: {log.read_text().splitlines()[-1]}", flush=True)
            return status
        if not result.exists():
            result.touch()
    return 0


def main() -> int:
    done = sum(map(len, ROWS)) - sum(map(len, map(left, ROWS)))
    print(FIRST_WORDS, end="")
    if done:
        print(f"{done} of the commands are done already.")
    print(
        f"'tail -f {RUNS}/*/fit.log' shows how far they are; Ctrl-C stops, and 'make demo' goes on from there.\n",
        flush=True,
    )
    os.environ |= {"OMP_NUM_THREADS": "1"}
    begin, spawn = time.time(), multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(len(ROWS), mp_context=spawn, initializer=share, initargs=(spawn.Event(),)) as pool:
            status = max(pool.map(run_row, ROWS, [begin] * len(ROWS)))
    except KeyboardInterrupt:  # which both rows got too
        status = 130
    if status:
        return status

    from fdsr.cli import main as fdsr

    runs = [str(RUNS / method) for method in TABLE]
    print(f"\n$ fdsr report {' '.join(runs)}", flush=True)
    status = fdsr(["report", *runs])
    if status == 0:
        print(LAST_WORDS, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
