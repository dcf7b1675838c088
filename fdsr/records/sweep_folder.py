"""The folder of a sweep of images: a table of distances, and what belongs to its rows."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from fdsr.records.files import Table

# the row of the published test images themselves: no generator is expected to come nearer to the training images
FLOOR = "test_images"


class SweepFolder:
    """What `fdsr sweep` writes and `fdsr report` draws; the folders of the sweep's runs lie in it or somewhere else."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.distances = Table(self.path / "fid_vs_steps.csv")
        self.curves = Table(self.path / "curves.csv")  # distances during training

    def sample(self, row: Mapping[str, Any]) -> Path:
        """The picture of a row's images, found by the row's values or by their text in the table."""
        parts = [str(row["method"]), *(str(row[k]) for k in ("divergence",) if row[k] not in (None, ""))]
        parts += [f"{k}{row[k]}" for k in ("T", "nfe", "seed") if row[k] not in (None, "")]
        return self.path / "samples" / f"{'-'.join(parts)}.png"
