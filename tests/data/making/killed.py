"""Kill a preparation with SIGKILL at chosen moments, let the same call finish, and compare.

A moment is the k-th time that the process touches a file of the target's folder (opens, renames, removes, makes one):
every state that a killed process can leave the file system in lies between two of these. Run as a program:

    python tests/data/making/killed.py SOURCE FOLDER MOMENTS SEED

prints one JSON line: how many such events there are, at which the process was killed, and at which of these the finished
store was not that of an uninterrupted run, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import numpy as np

from fdsr.data import PairStore, PrepareConfig, prepare
from fdsr.errors import FdsrError

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def config(source: str) -> PrepareConfig:
    split = {"train": 20, "val": 4, "test": 4}
    return PrepareConfig(source=source, variables=["t2m", "u10"], factor=(4, 4), split=split, static=["orography"])


def contents(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def run(source: str, target: Path, kill_at: int = 0) -> tuple[int, int]:
    """Prepare in a forked process, which dies at event `kill_at`: (exit status or minus the signal, events seen)."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _prepare(source, target, kill_at, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), int(said or 0)


def _prepare(source: str, target: Path, kill_at: int, report: int) -> None:
    count, folder = 0, str(target.parent)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in TOUCHES and arguments and folder in str(arguments[0]):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  of progress bars
        sys.addaudithook(hook)  # it cannot be removed again: the reason for the fork
        prepare(config(source), target, threads=2, steps_per_block=1)
        os.write(report, str(count).encode())
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    finally:
        os._exit(status)


def finished(path: Path) -> bool:
    """Whether a reader takes what is at `path` for a pair store."""
    try:
        PairStore(path)
    except FdsrError:
        return False
    return True


def main(source: str, folder: str, moments: int, seed: int) -> dict[str, object]:
    place = Path(folder)
    status, events = run(source, place / "whole" / "pairs.zarr")
    assert status == 0, status
    expected = contents(place / "whole" / "pairs.zarr")
    chosen = sorted(
        int(k) for k in np.random.default_rng(seed).choice(np.arange(1, events + 1), moments, replace=False)
    )
    other, early = [], []
    for k in chosen:
        target = place / f"at-{k}" / "pairs.zarr"
        status, _ = run(source, target, kill_at=k)
        assert status == -signal.SIGKILL, (k, status)
        if target.exists():  # the very last events: clearing up after the store was published
            if contents(target) != expected:
                early.append(k)
            continue
        if finished(target.with_name(f".{target.name}.partial") / "store") and k < events - 60:
            early.append(k)
        status, _ = run(source, target)
        if status != 0 or contents(target) != expected or list(target.parent.iterdir()) != [target]:
            other.append(k)
    return {"events": events, "killed_at": chosen, "not_identical": other, "taken_for_finished": early}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
