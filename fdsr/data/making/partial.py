"""The unfinished work of a preparation: where it lies, who works on it, how far it has come."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fdsr.atomic import write_text, written_whole
from fdsr.data.making.statistics import PairSums


@dataclass
class Progress:
    """What is finished: blocks 0 … done − 1, the sums over their train steps, values filled in per channel."""

    done: int = 0
    sums: PairSums | None = None
    filled: NDArray[np.int64] | None = None


class PartialStore:
    """The folder `.NAME.partial` beside a target, in which a store grows until it is whole.

    It holds `store` (the growing pair store), `plan.json` (what is being made: another plan starts anew) and
    `progress.npz`, replaced atomically after every wave of blocks. Under the target's own name there is nothing until
    `publish` renames the whole store.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f".{target.name}.partial")
        self.store = self.folder / "store"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, after any other that works in it. The lock ends with the process."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    print(f"waiting for another process that prepares '{self.target}'", file=sys.stderr)
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._is_current(lock):
                    continue  # the other process has finished and removed the folder
                yield
                return

    def _is_current(self, lock: IO[str]) -> bool:
        try:
            return (self.folder / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino
        except FileNotFoundError:
            return False

    def progress(self, plan: dict[str, Any], create: Callable[[Path], object]) -> Progress:
        """How far an interrupted preparation of the same `plan` has come; else another's remains go, and `create` begins the store."""
        if (progress := self._resumed(plan)) is None:
            for name in ("plan.json", "progress.npz"):  # first, so that no plan stands beside another's store
                (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.store, ignore_errors=True)
            write_text(self.folder / "plan.json", json.dumps(plan, sort_keys=True, default=str))
            create(self.store)
            self.save(progress := Progress())
        return progress

    def _resumed(self, plan: dict[str, Any]) -> Progress | None:
        try:
            stored = json.loads((self.folder / "plan.json").read_text())
            with np.load(self.folder / "progress.npz") as arrays:
                content = dict(arrays)
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if _comparable(stored, plan) != _comparable(plan, plan) or not (self.store / "zarr.json").exists():
            return None
        for chunk in self.store.rglob("*.partial"):  # in the middle of being written when the process was killed
            chunk.unlink()
        done, filled = int(content.pop("done")), content.pop("filled")
        return Progress(done, PairSums.from_arrays(content) if content else None, filled if done else None)

    def save(self, progress: Progress) -> None:
        """Note `progress`, atomically."""
        filled = progress.filled if progress.filled is not None else np.zeros(0, np.int64)
        sums = progress.sums.to_arrays() if progress.sums else {}
        with written_whole(self.folder / "progress.npz") as partial, partial.open("wb") as file:
            np.savez(file, done=progress.done, filled=filled, **sums)  # type: ignore[arg-type]

    def publish(self) -> None:
        """Rename the whole store to its target, which is the moment it comes into being."""
        self.store.rename(self.target)
        self.discard()

    def discard(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _comparable(stored: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """`stored` as it counts beside `plan`: blocks finished where missing values are errors hold none, so filling may
    go on from them.
    """
    config = dict(stored.get("config", {}))
    if "missing" not in config and "missing" in plan["config"]:
        config["missing"] = plan["config"]["missing"]
    return {**stored, "config": config}
