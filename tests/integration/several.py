"""Commands of the program one after the other, in processes that take long to start, and the noise that each draws."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import killed_prediction
import torch

from fdsr.cli import main

drawn: list[str] = []
randn = torch.randn


def witness(*size: Any, **options: Any) -> torch.Tensor:
    values = randn(*size, **options)
    drawn.append(hashlib.sha256(values.numpy().tobytes()).hexdigest())
    return values


def killed(command: list[str], moment: str) -> None:
    """The second process gets SIGKILL at a moment of its writing; see `killed_prediction`."""
    killed_prediction.run(command, moment if os.environ["LOCAL_RANK"] == "1" else None)


def run(commands: list[list[str]], folder: Path) -> None:
    """Hashes of the noise of command n in rank R are written to `folder`/n-rankR.json."""
    torch.randn = witness
    for number, command in enumerate(commands):
        drawn.clear()
        assert main(command) == 0
        (folder / f"{number}-rank{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(drawn))
