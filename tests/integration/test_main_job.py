"""fit, test, predict and report through the command line, and the files they leave."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from fdsr.modules import load_module

Program = Callable[..., int]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fit_leaves_a_record(trained: tuple[Path, Path], source_path: str) -> None:
    _, run = trained
    found = {p.name for p in run.iterdir()}
    assert found >= {"checkpoints", "config.yaml", "metrics.jsonl", "run.json"}
    assert "wandb" not in found  # WANDB_MODE=disabled is followed, see conftest.py
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["init_args"]["source"] == source_path
    assert config["model"]["init_args"]["timesteps"] == 1000  # defaults are written out
    record = json.loads((run / "run.json").read_text())["fit"]
    module = load_module(run / "checkpoints" / "last.ckpt")
    assert record["data_fingerprint"] == module.spec.fingerprint
    assert record["commit"] and record["packages"]["torch"] and record["device"].startswith("CPU")
    assert record["synthetic"] is False
    assert record["parameters"] == sum(p.numel() for p in module.parameters())
    losses = [line for line in lines(run / "metrics.jsonl") if "train_loss" in line]
    assert [line["step"] for line in losses] == [0, 1, 2]
    torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def test_test_predict_report(
    program: Program,
    configure: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trained: tuple[Path, Path],
) -> None:
    config, fitted = trained
    checkpoint = fitted / "checkpoints" / "last.ckpt"
    fourier, bicubic = tmp_path / "fourier", tmp_path / "bicubic"
    assert program("test", "--config", config, "--ckpt_path", checkpoint, "--run", fourier) == 0
    table = capsys.readouterr().out
    assert "fourier: 2 members, 2 network evaluations each" in table and "rmse" in table and "u10" in table
    for name in ("test_metrics.csv", "test_scores.nc", "test_example.nc", "figure.png", "config.yaml", "run.json"):
        assert (fourier / name).stat().st_size > 0
    assert str(fourier / "figure.png") in table and str(fourier / "test_metrics.csv") in table

    assert program("test", "--config", configure("InterpolationModule", "bicubic"), "--run", bicubic) == 0
    assert program("report", bicubic, fourier, "--output", tmp_path / "report") == 0
    report = capsys.readouterr().out
    assert (tmp_path / "report" / "comparison.txt").read_text().strip() in report
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "comparison.csv",
        "comparison.txt",
        "spectra.png",
        "ranks.png",
        "figure.png",
        "report.html",
    }
    assert json.loads((fourier / "run.json").read_text())["test"]["seconds_per_member"] > 0
    row = next(line for line in report.splitlines() if line.startswith("bicubic "))
    assert "1.000*" in row  # the first method's own error is the yardstick
    with (bicubic / "test_metrics.csv").open() as file:
        assert {r["method"] for r in csv.DictReader(file)} == {"bicubic"}

    output = tmp_path / "out" / "ensemble.zarr"
    assert program("predict", "--config", config, "--ckpt_path", checkpoint, "--output", output, "--run", fourier) == 0
    assert str(output) in capsys.readouterr().out
    with xr.open_zarr(output, consolidated=False) as ds:
        assert dict(ds.sizes) == {"time": 3, "member": 2, "lat": 24, "lon": 48}
        assert ds.time.values[0] == np.datetime64("2020-01-04T12") and ds.u10.attrs["units"] == "m s-1"


def test_predict_from_coarse_fields_alone(
    program: Program, trained: tuple[Path, Path], store_path: str, tmp_path: Path, world: Path
) -> None:
    """Neither the source nor the pair store is there: the checkpoint knows the grid and the statistics."""
    config, fitted = trained
    with xr.open_zarr(store_path, consolidated=False) as ds:
        low = ds.low.isel(time=slice(14, 17)).load()
    coarse = xr.Dataset({str(n): low.sel(low_channel=n, drop=True) for n in low.low_channel.values})
    coarse.rename(lat_low="lat", lon_low="lon").drop_encoding().to_zarr(
        tmp_path / "coarse.zarr", zarr_format=3, consolidated=False
    )
    common = (
        "predict",
        "--config",
        config,
        "--ckpt_path",
        fitted / "checkpoints" / "last.ckpt",
        "--run",
        tmp_path / "run",
    )
    assert program(*common, "--output", tmp_path / "a.zarr") == 0
    moved = tmp_path / "other.yaml"
    content = yaml.safe_load(config.read_text())
    content["data"]["init_args"]["source"] = "/nowhere.zarr"
    moved.write_text(yaml.safe_dump(content))
    common = ("predict", "--config", moved, *common[3:])
    assert program(*common, "--low", tmp_path / "coarse.zarr", "--output", tmp_path / "b.zarr") == 0
    with (
        xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as a,
        xr.open_zarr(tmp_path / "b.zarr", consolidated=False) as b,
    ):
        xr.testing.assert_allclose(a.load(), b.load(), rtol=1e-5)


@pytest.mark.slow
def test_export_and_test_from_the_folder(program: Program, trained: tuple[Path, Path], tmp_path: Path) -> None:
    config, fitted = trained
    assert program("export", fitted / "checkpoints" / "last.ckpt", tmp_path / "model") == 0
    runs = []
    for name, weights in (("folder", tmp_path / "model"), ("checkpoint", fitted / "checkpoints" / "last.ckpt")):
        runs.append(tmp_path / name)
        assert program("test", "--config", config, "--ckpt_path", weights, "--run", runs[-1]) == 0
    values = [[r["value"] for r in csv.DictReader((run / "test_metrics.csv").open())] for run in runs]
    assert values[0] == values[1]


def test_validate(program: Program, trained: tuple[Path, Path], tmp_path: Path) -> None:
    config, fitted = trained
    assert (
        program(
            "validate",
            "--config",
            config,
            "--ckpt_path",
            fitted / "checkpoints" / "last.ckpt",
            "--run",
            tmp_path / "run",
        )
        == 0
    )
    assert any("val_loss" in line for line in lines(tmp_path / "run" / "metrics.jsonl"))


@pytest.mark.slow
def test_dressed_baseline(program: Program, configure: Callable[..., Path], tmp_path: Path) -> None:
    config = configure("DressedModule", "dressed", model__members=4, trainer__max_epochs=2, trainer__max_steps=-1)
    run = tmp_path / "dressed"
    assert program("fit", "--config", config, "--run", run) == 0
    assert program("test", "--config", config, "--run", run) == 0
    with (run / "test_metrics.csv").open() as file:
        values = {(r["metric"], r["variable"]): float(r["value"]) for r in csv.DictReader(file)}
    assert 0 < values["crps", "t2m"] < values["mae", "t2m"]


@pytest.mark.slow
def test_overwrite_replaces(program: Program, trained: tuple[Path, Path], tmp_path: Path) -> None:
    config, fitted = trained
    common = ("--config", config, "--ckpt_path", fitted / "checkpoints" / "last.ckpt", "--run", tmp_path / "run")
    for verb in ("test", "predict"):
        assert program(verb, *common) == 0
        assert program(verb, *common) == 2
        assert program(verb, *common, "--overwrite") == 0
