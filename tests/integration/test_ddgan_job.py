"""DDGAN through the command line: fit, test, predict, a killed training's last word."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import torch
import xarray as xr


def test_fit_test_predict(program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path) -> None:
    config, run = configure("DDGANModule", trainer__val_check_interval=2), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run) == 0
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == checkpoint["fdsr_ema_updates"] == 3
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "g_loss" in line] == [0, 1, 2]
    assert any("val_crps" in line for line in lines)

    assert program("test", "--config", config, "--run", run) == 0
    with (run / "test_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["nfe"] for r in rows} == {"2"} and {r["members"] for r in rows} == {"2"}
    assert {"crps", "spread_skill"} <= {r["metric"] for r in rows}

    assert program("predict", "--config", config, "--run", run) == 0
    with xr.open_zarr(run / "prediction.zarr", consolidated=False) as ds:
        assert dict(ds.sizes) == {"time": 3, "member": 2, "lat": 24, "lon": 48}
        assert bool(ds.t2m.notnull().all()) and float(ds.t2m.std("member").max()) > 0


def test_a_training_gone_astray_ends_in_one_line(
    refused: Callable[..., str], configure: Callable[..., Path], tmp_path: Path
) -> None:
    """A rate so large that the second step is no number; checkpoints come before."""
    config = configure("DDPMModule", model__lr=1e30, trainer__max_steps=30, checkpoint__every_n_train_steps=1)
    message = refused("fit", "--config", config, "--run", tmp_path / "run")
    assert message.startswith("training stopped at step") and "no longer a number" in message
