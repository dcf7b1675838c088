"""Where results come from: the code's version, the packages and the device, in words for a record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdsr import __version__

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "lightning", "torchmetrics", "numpy", "scipy", "xarray", "zarr", "einops")


@lru_cache
def code_version() -> str:
    """Short git commit of the code, with `+` when the tree is dirty; outside a checkout $FDSR_COMMIT, or the package's version."""
    outside = os.environ.get("FDSR_COMMIT", __version__)
    root = Path(__file__).parents[2]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return outside
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "fdsr") else "")
    except (OSError, subprocess.SubprocessError):
        return outside


def versions() -> dict[str, Any]:
    """Commit, fdsr, python and the packages that results rest on."""
    return {
        "commit": code_version(),
        "fdsr": __version__,
        "python": platform.python_version(),
        "packages": {p: importlib.metadata.version(p) for p in _PACKAGES},
    }


def device_name(device: torch.device) -> str:
    """The device in words, for a table."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
