"""The program in two gloo processes, started as a user would: nothing hangs, nothing is lost, and numbers agree with one."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several
import torch
import xarray as xr
from processes import side_by_side
from synthetic import write_source
from torch.multiprocessing import ProcessExitedException
from torch.utils.data import default_collate

from fdsr.callbacks.ensemble_scores import EnsembleCallback, SpectralErrorCallback
from fdsr.data import WeatherDataModule
from fdsr.metrics import FieldMetrics, Task
from fdsr.modules import load_module

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")


def together(*command: object, cache: Path, seconds: float = 500, **environment: object) -> str:
    """Run a command and whatever it starts; all of it is killed when time is up. Returns what it printed."""
    process = subprocess.Popen(
        [str(c) for c in command],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "FDSR_CACHE": str(cache)}
        | {k: str(v) for k, v in environment.items()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"hangs: {process.communicate()[0][-3000:]}")
    assert process.returncode == 0, output[-4000:]
    return output


def fdsr(*arguments: object, cache: Path) -> str:
    return together(sys.executable, "-m", "fdsr.cli", *arguments, cache=cache)


def fdsr_by_two(commands: list[list[object]], folder: Path) -> None:
    """Commands one after the other, by the same two processes; see `several`."""
    side_by_side(several.run, [[str(a) for a in (*command, *TWO)] for command in commands], folder)


def logged(run: Path) -> dict[int, dict[str, float]]:
    scores: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        found = {k: v for k, v in line.items() if k.startswith("fdsr/")}
        if found:
            assert line["step"] not in scores, "logged by more than one process"
            scores[line["step"]] = found
    return scores


CALLBACKS: list[dict[str, Any]] = [
    {
        "class_path": "fdsr.callbacks.SpectralErrorCallback",
        "init_args": {"every_n_steps": 3, "times": None, "members": 2},
    },
    {"class_path": "fdsr.callbacks.EnsembleCallback", "init_args": {"every_n_steps": 3, "times": None, "members": 3}},
    {"class_path": "fdsr.callbacks.SamplePictures", "init_args": {"every_n_steps": 3, "time": -1}},
]


@pytest.mark.slow
def test_two_processes_in_half_precision(
    configure: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every callback active. Three fields make uneven shares; one leaves the second process without any."""
    cache, commands, runs = tmp_path / "cache", [], {}
    monkeypatch.setenv("FDSR_CACHE", str(cache))
    for method, fields in (("FourierDDPMModule", 3), ("DDGANModule", 3), ("DDPMModule", 1)):
        name = f"{method}-{fields}"
        config = configure(
            method, name, data__split={"train": 8, "val": fields, "test": 3}, trainer__callbacks=CALLBACKS,
            trainer__val_check_interval=1, trainer__check_val_every_n_epoch=None, trainer__max_steps=3,
        )  # fmt: skip
        runs[name] = tmp_path / "runs" / name
        commands.append(["fit", "--config", config, "--run", runs[name], "--trainer.precision", "bf16-mixed"])
    fdsr_by_two(commands, tmp_path)
    for name, run in runs.items():
        require_whole(run, cache, name)


def require_whole(run: Path, cache: Path, name: str) -> None:
    """The last scores are those of the checkpoint's weights, evaluated by one process in float32; nothing is there twice."""
    scores = logged(run)
    assert set(scores) == {1, 2, 3}, name
    module = load_module(run / "checkpoints" / "last.ckpt")
    (store,) = [p for p in cache.glob("pairs-*.zarr") if _fingerprint(p) == module.spec.fingerprint]
    data = WeatherDataModule(store=str(store))
    data.setup("fit")
    expected = expected_scores(module, data)
    assert scores[3].keys() == expected.keys()
    for key, value in scores[3].items():
        assert value == pytest.approx(expected[key], rel=1e-5, abs=1e-5, nan_ok=True), (name, key)

    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3 and checkpoint["state_dict"].keys() == module.state_dict().keys()
    assert not [name for name in checkpoint["callbacks"] if "Callback" in name and "EMA" not in name]
    assert {p.name for p in (run / "samples").iterdir()} == {f"step_{n:07d}.png" for n in (1, 2, 3)}
    record = json.loads((run / "run.json").read_text())["fit"]
    assert record["processes"] == 2 and record["precision"] == "bf16-mixed"
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in losses if "train_loss" in line or "g_loss" in line]) == 3


def _fingerprint(path: Path) -> str:
    return str(json.loads((path / "zarr.json").read_text())["attributes"]["fingerprint"])


def expected_scores(module: Any, data: WeatherDataModule) -> dict[str, float]:
    """By the metrics' own front door, one process, float32."""
    found: dict[str, float] = {}
    for callback, members in ((SpectralErrorCallback, 2), (EnsembleCallback, 3)):
        metrics = FieldMetrics(Task(module.spec.grid, module.spec.high_channels), callback.default)
        for i in range(len(data.fields("val"))):
            batch = default_collate([data.fields("val")[i]])
            metrics.update(module.generate(batch, members, module.seed), batch["high"])
        found |= {
            f"fdsr/{m}/{v}": value for m, values in metrics.compute(members).items() for v, value in values.items()
        }
    return found


@pytest.mark.slow
def test_a_test_by_two_processes_is_that_of_one(
    program: Callable[..., int], trained: tuple[Path, Path], tmp_path: Path, world: Path
) -> None:
    """Three test fields: uneven shares."""
    config, fitted = trained
    common = ("test", "--config", config, "--ckpt_path", fitted / "checkpoints" / "last.ckpt", "--run")
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    assert program(*common, one) == 0
    printed = fdsr(*common, two, *TWO, cache=world / "cache")
    assert printed.count("table: ") == 1
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    tables = [list(csv.DictReader((run / "test_metrics.csv").open())) for run in (one, two)]
    assert tables[0] == tables[1] and tables[0][0]["n_times"] == "3"
    for name in ("test_scores.nc", "test_example.nc"):
        a, b = (xr.load_dataset(run / name, engine="scipy") for run in (one, two))
        xr.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.slow
def test_a_dressed_baseline_by_two_processes_is_that_of_one(
    configure: Callable[..., Path], program: Callable[..., int], tmp_path: Path
) -> None:
    """It has nothing to train, which DistributedDataParallel would refuse; its sums are those of all processes."""
    config = configure("DressedModule", "dressed", model__members=4, trainer__max_epochs=2, trainer__max_steps=-1)
    fit = ["fit", "--config", config, "--trainer.limit_val_batches", "0", "--run"]
    assert program(*fit, tmp_path / "one") == 0
    fdsr_by_two([[*fit, tmp_path / "two"]], tmp_path)
    one, two = (load_module(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two"))
    for name, sums in one.named_buffers():
        torch.testing.assert_close(two.get_buffer(name), sums, rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_a_prediction_by_two_processes_is_that_of_one(
    trained: tuple[Path, Path], program: Callable[..., int], tmp_path: Path, world: Path, store_path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same noise, to the bit, whoever draws it; fields to float rounding; one whole store. Members of one time are shared too."""
    config, fitted = trained
    numbers, commands, drawn = (3, 1), [], []
    monkeypatch.setattr(torch, "randn", several.witness)
    for times in numbers:
        with xr.open_zarr(store_path, consolidated=False) as ds:
            low = ds.low.isel(time=slice(14, 14 + times)).load()
        coarse = xr.Dataset({str(n): low.sel(low_channel=n, drop=True) for n in low.low_channel.values})
        coarse.rename(lat_low="lat", lon_low="lon").drop_encoding().to_zarr(
            tmp_path / f"coarse-{times}.zarr", zarr_format=3, consolidated=False
        )
        checkpoint = fitted / "checkpoints" / "last.ckpt"
        common = ["predict", "--config", config, "--ckpt_path", checkpoint, "--low", tmp_path / f"coarse-{times}.zarr"]
        commands.append([*common, "--run", tmp_path / "two" / str(times)])
        several.drawn.clear()
        assert program(*common, "--run", tmp_path / "one" / str(times)) == 0
        drawn.append(list(several.drawn))
    fdsr_by_two(commands, tmp_path)
    for number, times in enumerate(numbers):
        shares = [json.loads((tmp_path / f"{number}-rank{rank}.json").read_text()) for rank in (0, 1)]
        assert len(drawn[number]) == 2 * times  # a start for each of two members
        assert [len(hashes) for hashes in shares] == [times, times]  # also where there are fewer times than processes
        assert sorted(drawn[number]) == sorted(shares[0] + shares[1])
        runs = [tmp_path / name / str(times) for name in ("one", "two")]
        stores = [xr.open_zarr(run / "prediction.zarr").load() for run in runs]
        assert stores[0].sizes["time"] == times and all(np.isfinite(stores[1][v]).all() for v in ("t2m", "u10"))
        xr.testing.assert_allclose(*stores, rtol=1e-6, atol=1e-5)
        assert not [p for p in runs[1].iterdir() if "partial" in p.name]


@pytest.mark.slow
def test_one_member_by_two_processes_and_a_prediction_that_was_killed(
    trained: tuple[Path, Path], program: Callable[..., int], tmp_path: Path, world: Path, source_data: xr.Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Fewer members than processes: both draw the same noise and share its tiles. One of two killed: the same command goes on."""
    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    config, fitted = trained
    low = source_data[["t2m", "u10"]].isel(time=slice(3)).coarsen(latitude=4, longitude=4).mean()
    write_source(low.assign({n: low[n].assign_attrs(source_data[n].attrs) for n in low}), tmp_path / "low.zarr")
    common = [
        "predict",
        "--config",
        config,
        "--run",
        fitted,
        "--low",
        tmp_path / "low.zarr",
        "--model.member_batch",
        "1",
    ]
    single = [*common, "--model.members", "1", "--data.init_args.region", "[0,90,0,360]", "--tile", "8x8+0"]
    limit = ["--trainer.limit_predict_batches", "0.34"]
    assert program(*single, *limit, "--output", tmp_path / "one.zarr") == 0
    whole, cut = tmp_path / "whole.zarr", tmp_path / "cut.zarr"
    moment = "between two variables of a member"
    with pytest.raises(ProcessExitedException):
        side_by_side(several.killed, [str(a) for a in (*common, "--output", cut, *TWO)], moment)
    assert not cut.exists()
    commands = [
        [*single, *limit, "--output", tmp_path / "two.zarr"],
        [*common, "--output", whole],
        [*common, "--output", cut],
    ]
    fdsr_by_two(commands, tmp_path)
    drawn = [[json.loads((tmp_path / f"{n}-rank{r}.json").read_text()) for r in (0, 1)] for n in range(3)]
    assert drawn[0][0] == drawn[0][1] and len(drawn[0][0]) == 1
    with xr.open_zarr(tmp_path / "one.zarr") as one, xr.open_zarr(tmp_path / "two.zarr") as two:
        assert dict(one.sizes) == {"time": 1, "member": 1, "lat": 12, "lon": 48}
        xr.testing.assert_allclose(two.load(), one.load(), rtol=1e-5, atol=1e-4)
    # three times of two members: one of the second process's three had been finished
    assert [len(hashes) for hashes in drawn[1]] == [3, 3] and len(drawn[2][1]) == 2
    assert drawn[2][1] == drawn[1][1][1:]
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (whole, cut)]
    assert files[0] == files[1] and not list(tmp_path.glob(".*.partial"))


@pytest.mark.slow
def test_two_stages_by_two_processes(
    configure: Callable[..., Path], program: Callable[..., int], tmp_path: Path, world: Path, store_path: str
) -> None:
    """The residual of a regression, trained by two; afterwards the regression's file is no longer needed, nor are the pairs."""
    first, regression = tmp_path / "regression", configure("RegressionModule", "regression")
    assert program("fit", "--config", regression, "--run", first) == 0
    checkpoint = first / "checkpoints" / "last.ckpt"
    stages = {}
    second = {"target": "regression", "regression_ckpt": str(checkpoint), "local_scale": "climatological"}
    config = configure("DDPMModule", "second", **{f"model__{name}": value for name, value in second.items()})
    assert program("fit", "--config", config, "--run", tmp_path / "one") == 0
    fdsr_by_two([["fit", "--config", config, "--run", tmp_path / "two"]], tmp_path)
    for name in ("one", "two"):
        stage = load_module(tmp_path / name / "checkpoints" / "last.ckpt").codec.stage
        stages[name] = [x.float() for x in (stage.power, stage.local_scale)]
    # the residual is measured over the whole training block, whoever takes part
    torch.testing.assert_close(stages["one"], stages["two"])
    assert stages["one"][1].shape == (2, 24, 48)
    checkpoint.unlink()
    with xr.open_zarr(store_path, consolidated=False) as ds:
        low = ds.low.isel(time=slice(14, 16)).load()
    coarse = xr.Dataset({str(n): low.sel(low_channel=n, drop=True) for n in low.low_channel.values})
    coarse.rename(lat_low="lat", lon_low="lon").drop_encoding().to_zarr(tmp_path / "coarse.zarr", consolidated=False)
    ours = tmp_path / "two" / "checkpoints" / "last.ckpt"
    arguments = ("--config", config, "--ckpt_path", ours, "--run", tmp_path / "predicted")
    assert program("predict", *arguments, "--low", tmp_path / "coarse.zarr", "--output", tmp_path / "fine.zarr") == 0
    with xr.open_zarr(tmp_path / "fine.zarr", consolidated=False) as ds:
        assert ds.sizes["time"] == 2 and bool(np.isfinite(ds.t2m.values).all() and np.isfinite(ds.u10.values).all())


def test_further_processes_run_the_program(monkeypatch: pytest.MonkeyPatch, program: Callable[..., int]) -> None:
    """Whoever called it: a console script, or a Python program that is no module."""
    from lightning.fabric.strategies.launchers.subprocess_script import _basic_subprocess_cmd

    import __main__

    monkeypatch.setattr(__main__, "__spec__", None)
    with pytest.raises(SystemExit):
        program("fit", "--help")
    command = list(_basic_subprocess_cmd())
    done = subprocess.run([*command[:2], "--version"], capture_output=True, text=True, timeout=120)
    assert command[2:] == ["fit", "--help"] and done.returncode == 0 and done.stdout.startswith("fdsr ")
