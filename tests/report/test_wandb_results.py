"""What a test of images adds to its W&B run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from wandb_spec import referenced

from fdsr.drawing.png import write_grid
from fdsr.records import RunFolder
from fdsr.report.sweep_table import SweepTable
from fdsr.report.wandb.results import log_test
from fdsr.report.wandb.workspace import chapters, make_report, make_workspace, specification


class Config(dict):
    def update(self, values: dict[str, Any], allow_val_change: bool) -> None:  # type: ignore[override]
        assert allow_val_change  # a test that is repeated says other things
        super().update(values)


class Experiment:
    """Keeps what a W&B run is told."""

    def __init__(self) -> None:
        self.config, self.summary, self.logged = Config(), dict[str, Any](), dict[str, Any]()

    def log(self, values: dict[str, Any]) -> None:
        self.logged.update(values)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "ddgan-T=4"
    write_grid(folder / "samples" / "test_0000300.png", torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    facts = {"n_generated": 100, "seed": 0, "seconds_per_image": 0.25, "processes": 1, "device": "CPU", "commit": "abc"}
    values = {"fid": 31.0, "fid_test": 32.0, "classifier_frechet": 9.5, "fid_floor": 2.0, "n_floor": 50}
    lines = [
        {"stage": stage, "step": 300, **values, "fid": fid, **facts}
        for stage, fid in (("fit", 99.0), ("test", 50.0), ("test", 31.0))
    ]
    (folder / "image_distances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "te')
    (folder / "run.json").write_text(json.dumps({"test": {"method": "ddgan", "seed": 3, "nfe": 4}}))
    (folder / "wandb_runs.json").write_text(json.dumps({"test": "test-1"}))
    return folder


def test_images(run: Path) -> None:
    experiment = Experiment()
    log_test(experiment, RunFolder(run))
    assert experiment.summary == {
        "fdsr/fid": 31.0, "fdsr/fid_test": 32.0, "fdsr/classifier_frechet": 9.5, "fdsr/fid_floor": 2.0,
        "fdsr/seconds_per_image": 0.25,
    }  # fmt: skip
    assert {k: experiment.config[k] for k in ("method", "seed", "nfe", "n_generated")} == {
        "method": "ddgan", "seed": 3, "nfe": 4, "n_generated": 100}  # fmt: skip
    assert isinstance(experiment.logged["fdsr/samples"], wandb.Image)

    table = run.parent / "fid_vs_steps.csv"
    table.write_text(
        "method,divergence,T,nfe,seed,fid,classifier_frechet,n_generated,seconds_per_image\nddgan,gan,4,4,3,31,9.5,100,0.25\n"
    )
    spec = specification(
        make_workspace("", "p", chapters([], [SweepTable.read(table)])),
        make_report("", "p", chapters([], [SweepTable.read(table)])),
    )
    for part in spec.values():
        keys = referenced(part)
        assert "fdsr/fid" in keys.summary and keys.summary <= set(experiment.summary) | set(experiment.logged)
        assert keys.config <= set(experiment.config)


def test_a_run_without_results(tmp_path: Path) -> None:
    log_test(experiment := Experiment(), RunFolder(tmp_path))
    assert not experiment.config and not experiment.summary and not experiment.logged
