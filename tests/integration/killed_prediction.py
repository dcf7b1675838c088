"""Runs in a process of its own: the program, which at a given moment of its writing gets SIGKILL."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import zarr.storage._local as local

from fdsr.cli import main
from fdsr.data.output.form import Form
from fdsr.data.output.store import PredictionStore


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_file(path: Path, *_: Any, **__: Any) -> None:
    """What is on disk where a chunk was being written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".0a1b.partial").write_bytes(bytes(3))
    die()


def is_of_a_map(path: Path, *_: Any, **__: Any) -> bool:
    return "t2m" in str(path) and path.name != "zarr.json"


def is_the_store(path: Path, *_: Any) -> bool:
    return path.name == "store"


def always(*_: Any, **__: Any) -> bool:
    return True


# (whose, name of a function, which of its calls count, how many go well, what comes instead of the next)
MOMENTS: dict[str, tuple[Any, str, Callable[..., bool], int, Callable[..., None]]] = {
    "before anything is noted": (PredictionStore, "_create", always, 0, die),
    "between two variables of a member": (Form, "place", always, 3, die),
    "within a file": (local, "_put", is_of_a_map, 3, half_a_file),
    "when all is written": (PredictionStore, "finish", always, 0, die),
    "between the old store and the new": (Path, "replace", is_the_store, 0, die),
}


def run(command: list[str], moment: str | None) -> None:
    """Ends with the program's exit status, or by the signal."""
    if moment is not None:
        owner, name, counts, well, instead = MOMENTS[moment]
        function, calls = getattr(owner, name), count()

        def called(*arguments: Any, **named: Any) -> Any:
            fatal = counts(*arguments, **named) and next(calls) >= well
            return (instead if fatal else function)(*arguments, **named)

        setattr(owner, name, called)
    os._exit(main(command))
