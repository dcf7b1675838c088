"""The folder of a run: the one place that knows what its files are called, and who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from fdsr.atomic import write_text
from fdsr.records.files import JSONLines, JSONObject, NetCDF, Table

RECORD, TABLE = "run.json", "test_metrics.csv"


class RunFolder:
    """A run's own directory, as `fdsr` fills it. A file that a run is to leave besides is one more line here."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        # point: method and axes of a point of a sweep; fit, test: code, data, device, seed and what came of the stage
        self.record = JSONObject(self.path / RECORD, "fit or test the run again")
        self.metrics = JSONLines(self.path / "metrics.jsonl")  # all that was logged, by step
        self.checkpoints = self.path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        # a test of fields: every score; what `fdsr.metrics.evaluate` gives, with spectra and ranks; its first time
        self.table = Table(self.path / TABLE)
        self.scores = NetCDF(self.path / "test_scores.nc")
        self.blocks = NetCDF(self.path / "test_blocks.nc")  # sums of metrics by tile and time, see fdsr.metrics.blocks
        self.example = NetCDF(self.path / "test_example.nc")
        self.figure = self.path / "figure.png"
        self.distances = JSONLines(self.path / "image_distances.jsonl")  # of images, in training and tests
        self.prediction = self.path / "prediction.zarr"
        self.wandb_runs = JSONObject(self.path / "wandb_runs.json", "remove it, and the next run gets a new id")
        # of a sweep: the settings that a point was begun with, trained with, tested with, and who is at work on it
        self.begun = JSONObject(self.path / "sweep.json")
        self.fitted = JSONObject(self.path / "fit.done")
        self.tested = JSONObject(self.path / "test.done")
        self.lock = self.path / ".lock"

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__

    @classmethod
    def below(cls, path: Path) -> list[RunFolder]:
        """Every run's folder in `path`, itself included, in the order of their names."""
        return [cls(folder) for folder in sorted(found.parent for found in path.glob(f"**/{RECORD}"))]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def above(self) -> RunFolder:
        """Where a sweep has trained what several tests, each in a folder below, were made of."""
        return RunFolder(self.path.parent)

    def log(self, verb: str) -> Path:
        """What a sweep's process has printed."""
        return self.path / f"{verb}.log"

    def picture(self, of: str, step: int) -> Path:
        """Samples after `step` steps; `of` is a stage, or what is drawn."""
        return self.path / "samples" / f"{of}_{step:07d}.png"

    def last_picture(self, of: str) -> Path | None:
        return max(self.path.glob(f"samples/{of}_*.png"), default=None)

    def tested_distances(self) -> dict[str, Any] | None:
        """What the last test of images has measured."""
        return next((line for line in reversed(self.distances.read()) if line["stage"] == "test"), None)

    # -- the record --------------------------------------------------------------------------------------------------

    def describe(self, method: str, axes: Mapping[str, Any]) -> None:
        """Note which point of a sweep this is; what is fitted and tested here goes by this method's name."""
        self.record.write(self.record.read() | {"point": {"method": method, "axes": dict(axes)}})

    @property
    def point(self) -> dict[str, Any]:
        """Method and axes as a sweep describes them; empty for any other run."""
        return dict(self.record.read().get("point", {}))

    def method(self, configuration: str) -> str:
        """The method's name: a sweep's, or else the configuration's."""
        return str(self.point.get("method", configuration))

    @property
    def requeued(self) -> list[Path]:
        """Checkpoints that a batch system's signal left, from which Lightning goes on by itself under Slurm."""
        return list(self.path.glob("hpc_ckpt_*.ckpt"))

    def clear(self) -> None:
        """Remove what an earlier training left, and its tests: nothing of it is to stand beside a new one."""
        left = [self.metrics, self.distances, self.table, self.scores, self.blocks, self.example]
        for path in [
            *(file.path for file in left),
            self.figure,
            *self.checkpoints.glob("*.ckpt"),
            *self.path.glob("samples/*.png"),
        ]:
            path.unlink(missing_ok=True)
        self.record.write({name: facts for name, facts in self.record.read().items() if name not in ("fit", "test")})

    def begin(self, stage: str, facts: Mapping[str, Any], config: str) -> None:
        """Record a stage, in the place of an earlier one, and its resolved configuration beside that of the training."""
        training, test = self._configs
        write_text(test if stage != "fit" and training.exists() else training, config)
        self.record.write(self.record.read() | {stage: dict(facts)})

    def config(self) -> str:
        """The configuration of the test, or of the training where that is all there is; empty where there is none."""
        return next((path.read_text() for path in reversed(self._configs) if path.is_file()), "")

    def training_config(self) -> str:
        """The configuration of the training; empty where there is none."""
        return self._configs[0].read_text() if self._configs[0].is_file() else ""

    @property
    def _configs(self) -> tuple[Path, Path]:
        return self.path / "config.yaml", self.path / "config-test.yaml"

    def add(self, stage: str, facts: Mapping[str, Any]) -> None:
        """More facts of a stage that has begun."""
        record = self.record.read()
        self.record.write(record | {stage: record[stage] | facts})

    def history(self) -> dict[str, Any]:
        """The record, with that of the training where it lies one folder above."""
        own = self.record.read()
        return own if "fit" in own else self.above.record.read() | own


def join_tables(parts: Iterable[tuple[Table, str, Mapping[str, Any]]], axes: Iterable[str], output: Table) -> None:
    """Write one table of several runs', each given with its method and axes, which become columns where the runs have none."""
    axes, rows = list(axes), []
    for table, method, known in parts:
        for row in table.read():
            told = {axis: known.get(axis) for axis in axes if axis not in row}
            rows.append({"method": method} | told | row | {"method": method})
    output.write(rows)
