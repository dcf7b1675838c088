"""Every bad input: one line on standard error, exit status 2, nothing destroyed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from synthetic import make_source, write_source

Refused = Callable[..., str]
Configure = Callable[..., Path]
Trained = tuple[Path, Path]

PLAIN = ("--factor", "4", "--split", "train=10,val=2,test=3")


def fit(config: Path, run: Path, *more: object) -> tuple[object, ...]:
    return ("fit", "--config", config, "--run", run, *more)


def test_unknown_verb(refused: Refused) -> None:
    message = refused("train")
    assert "unknown verb 'train'" in message and "fit" in message


def test_missing_config(refused: Refused, tmp_path: Path) -> None:
    assert "nowhere.yaml' does not exist" in refused("fit", "--config", "nowhere.yaml")
    assert "nowhere.yaml' does not exist" in refused("test", "--config=nowhere.yaml")


def test_config_that_is_not_yaml(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("model: [unclosed\n  data: {")
    refused(*fit(path, tmp_path / "run"))


def test_missing_source(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    assert "nowhere.zarr' does not exist" in refused(*fit(configure(source="/nowhere.zarr"), tmp_path / "run"))


def test_missing_store(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    config = configure(data__store=str(tmp_path / "none.zarr"), data__source=None)
    assert "none.zarr' does not exist" in refused(*fit(config, tmp_path / "run"))


def test_missing_variable(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    config = configure(data__variables=["t2m", "humidity"])
    assert "no variable 'humidity'" in refused(*fit(config, tmp_path / "run"))


def test_indivisible_grid(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    message = refused(*fit(configure(data__factor=5), tmp_path / "run"))
    assert "24 rows" in message and "--crop" in message


def test_nan_in_training_data(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    ds = make_source()
    ds.u10[5, 0, 0] = np.nan
    source = write_source(ds, tmp_path / "holes.zarr")
    message = refused(*fit(configure(source=source), tmp_path / "run"))
    assert "u10" in message and "2020-01-02T06:00" in message
    message = refused("prepare", "--source", source, "--target", tmp_path / "p.zarr", "--variables", "t2m,u10", *PLAIN)
    assert "u10" in message and not (tmp_path / "p.zarr").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model__widht": 8}, "widht"),
        ({"data__batchsize": 8}, "batchsize"),
        ({"trainer__max_step": 8}, "max_step"),
        ({"model__backbone_args": {"wdith": 8}}, "wdith"),
    ],
)
def test_unknown_key(refused: Refused, configure: Configure, tmp_path: Path, changes: dict, key: str) -> None:
    assert key in refused(*fit(configure(**changes), tmp_path / "run"))


def test_unknown_key_on_the_command_line(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    assert "max_stepps" in refused(*fit(configure(), tmp_path / "run", "--trainer.max_stepps", "3"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__noise": {"class_path": "PinkNoise"}}, "PinkNoise"),
        ({"model__sampler": {"class_path": "DDIM", "init_args": {"steps": "many"}}}, "steps"),
        ({"data__patch": [10, 16]}, "multiple of the factor 4"),
        ({"data__split": {"train": 30}}, "of 18"),
        ({"model__timesteps": 0}, "T|timesteps"),
        ({"model__noise": {"class_path": "ColouredNoise", "init_args": {"exponent": 3.0}}}, "exponent"),
        ({"model__reverse_variance": "large"}, "posterior"),
        ({"model__backbone_args": {"norm": "batch"}}, "norm"),
    ],
)
def test_impossible_value(refused: Refused, configure: Configure, tmp_path: Path, changes: dict, words: str) -> None:
    import re

    assert re.search(words, refused(*fit(configure(**changes), tmp_path / "run")))


def test_unknown_class(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    assert "GANModule" in refused(*fit(configure("GANModule"), tmp_path / "run"))


def test_interpolation_has_nothing_to_fit(refused: Refused, configure: Configure, tmp_path: Path) -> None:
    assert "nothing to train" in refused(*fit(configure("InterpolationModule"), tmp_path / "run"))


def test_no_checkpoint(refused: Refused, trained: Trained, tmp_path: Path) -> None:
    config, _ = trained
    assert "train first" in refused("test", "--config", config, "--run", tmp_path / "run")
    assert "does not exist" in refused(
        "test", "--config", config, "--run", tmp_path / "run", "--ckpt_path", tmp_path / "no.ckpt"
    )
    assert "does not exist" in refused(*fit(config, tmp_path / "run", "--ckpt_path", "last"))


@pytest.mark.parametrize(
    ("verb", "changes", "words"),
    [
        ("fit", {"data__variables": ["u10"]}, ["variables", "['u10']"]),
        ("test", {"data__variables": ["u10"]}, ["variables", "['u10']"]),
        ("fit", {"data__factor": 2}, ["factor"]),
        ("test", {"data__factor": 2}, ["factor"]),
        # a test may be anywhere, and at other times
        ("fit", {"data__crop": [0, 90, -10, 360]}, ["latitudes", "(12)"]),
        ("fit", {"data__split": {"train": 9, "test": 3}}, ["fingerprint"]),
        ("fit", {"data__position": False}, ["data.position True against False"]),
    ],
)
def test_checkpoint_of_other_data(
    refused: Refused, configure: Configure, trained: Trained, tmp_path: Path, changes: dict, words: list[str], verb: str
) -> None:
    checkpoint = trained[1] / "checkpoints" / "last.ckpt"
    message = refused(verb, "--config", configure(**changes), "--ckpt_path", checkpoint, "--run", tmp_path / "run")
    assert "does not match" in message and all(word in message for word in words), message


def test_checkpoint_of_another_network(
    refused: Refused, configure: Configure, trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained[1] / "checkpoints" / "last.ckpt"
    for config in (
        configure(model__backbone_args={"width": 16, "multipliers": [1, 2], "groups": 4}),
        configure("RegressionModule"),
    ):
        message = refused("test", "--config", config, "--ckpt_path", checkpoint, "--run", tmp_path / "run")
        assert "another network" in message


class Code:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("verb", ["test", "predict", "fit"])
def test_checkpoint_with_code(refused: Refused, trained: Trained, tmp_path: Path, verb: str) -> None:
    config, run = trained
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(checkpoint | {"extra": Code(tmp_path / "trace")}, tmp_path / "evil.ckpt")
    message = refused(verb, "--config", config, "--ckpt_path", tmp_path / "evil.ckpt", "--run", tmp_path / "run")
    assert "carries code" in message and not (tmp_path / "trace").exists()
    refused("export", tmp_path / "evil.ckpt", tmp_path / "model")
    assert not (tmp_path / "trace").exists()


def test_unwritable_output(refused: Refused, trained: Trained, tmp_path: Path, source_path: str) -> None:
    config, run = trained
    (tmp_path / "file").write_text("")
    under = tmp_path / "file" / "below"
    checkpoint = ("--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert "writable" in refused(*fit(config, under))
    assert "writable" in refused("test", "--config", config, *checkpoint, "--run", under)
    assert "writ" in refused(
        "predict", "--config", config, *checkpoint, "--run", tmp_path / "run", "--output", under / "p.zarr"
    )
    assert "writ" in refused(
        "prepare", "--source", source_path, "--target", under / "p.zarr", "--variables", "t2m", *PLAIN
    )
    assert "writ" in refused("export", run / "checkpoints" / "last.ckpt", under / "model")


def test_unwritable_cache(
    refused: Refused, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FDSR_CACHE", str(tmp_path / "file" / "cache"))
    assert "writ" in refused(*fit(configure(), tmp_path / "run"))


def test_existing_results(
    refused: Refused, trained: Trained, tmp_path: Path, source_path: str, store_path: str
) -> None:
    config, fitted = trained
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    (run / "test_metrics.csv").write_text("mine")
    (run / "prediction.zarr").mkdir()
    last = (run / "checkpoints" / "last.ckpt").stat()
    assert "has a checkpoint already" in refused(*fit(config, run))
    assert "test_metrics.csv' exists already" in refused("test", "--config", config, "--run", run)
    assert "prediction.zarr' exists already" in refused("predict", "--config", config, "--run", run)
    assert "exists already" in refused(
        "prepare", "--source", source_path, "--target", store_path, "--variables", "t2m", "--factor", "4"
    )
    assert "exists already" in refused("export", run / "checkpoints" / "last.ckpt", run)
    assert (run / "test_metrics.csv").read_text() == "mine"
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == last.st_mtime_ns


def test_plain_verbs(refused: Refused, tmp_path: Path, source_path: str) -> None:
    target = ("--target", tmp_path / "p.zarr")
    assert "--variables" in refused("prepare", "--source", source_path, *target, "--factor", "4")
    common = ("prepare", "--source", source_path, *target, "--variables", "t2m")
    assert "factor" in refused(*common, "--factor", "four")
    assert "factor" in refused(*common, "--factor", "0")
    assert "split" in refused(*common, "--factor", "4", "--split", "train:7")
    assert "crop" in refused(*common, "--factor", "4", "--crop", "0,1")
    assert "transform" in refused(*common, "--factor", "4", "--transform", "t2m=exp")
    assert "--colour" in refused(*common, "--factor", "4", "--colour", "red")
    assert "test_metrics.csv" in refused("report", tmp_path)
    assert "does not exist" in refused("export", tmp_path / "no.ckpt", tmp_path / "model")


def test_coarse_fields_of_another_spacing(refused: Refused, trained: Trained, source_path: str, tmp_path: Path) -> None:
    config, run = trained
    message = refused(
        "predict", "--config", config, "--run", run, "--low", source_path, "--output", tmp_path / "p.zarr"
    )
    assert "0.25 times as far" in message and "trained at 30°" in message and not (tmp_path / "p.zarr").exists()
    assert "does not exist" in refused(
        "predict", "--config", config, "--run", run, "--low", "/nowhere.zarr", "--output", tmp_path / "p.zarr"
    )


def test_prepare_and_fit_work_from_the_command_line(
    program: Callable[..., int], configure: Configure, source_path: str, tmp_path: Path
) -> None:
    """The same calls without the mistake succeed, so each refusal above is about the mistake."""
    target = tmp_path / "p.zarr"
    arguments = (
        "--variables",
        "t2m,u10",
        "--static",
        "orography",
        "--factor",
        "4,4",
        "--split",
        "train=10,val=2,test=3",
    )
    assert (
        program("prepare", "--source", source_path, "--target", target, *arguments, "--transform", "t2m=none,100") == 0
    )
    config = configure(data__store=str(target), data__source=None)
    assert program(*fit(config, tmp_path / "run", "--trainer.max_steps", "1")) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["max_steps"] == 1


def test_a_southern_crop_is_no_option(program: Callable[..., int], source_path: str, tmp_path: Path) -> None:
    target = tmp_path / "p.zarr"
    crop = ("--region", "-60,0,150,-120", "--trim")
    assert (
        program("prepare", "--source", source_path, "--target", target, "--variables", "t2m", "--factor", "2", *crop)
        == 0
    )
    with xr.open_zarr(target, consolidated=False) as ds:
        assert float(ds.lat.max()) < 0 and float(ds.lon.min()) >= 150
