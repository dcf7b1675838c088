"""Every configuration in experiments/ is understood, and runs when pointed at tiny data."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic import SPLIT, TINY_DDGAN, TINY_UNET
from tiny_images import SPEC

import fdsr.diffusion
from fdsr.data import PrepareConfig
from fdsr.modules import DDPMModule, save_pretrained
from fdsr.records import RunFolder
from fdsr.sweep.grid import Point, Sweep, read_sweep
from fdsr.sweep.runner import Runner

ROOT = Path(__file__).parents[2]
NAMES_OF_REGRESSIONS = ("mean", "regression_ckpt")  # settings that name a trained regression's checkpoint
FILES = sorted((ROOT / "experiments").glob("*.yaml"))
EXPERIMENTS = [path for path in FILES if "model" in yaml.safe_load(path.read_text())]
SWEEPS = [path for path in FILES if {"blocks", "extends"} & yaml.safe_load(path.read_text()).keys()]


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def of_images(config: dict[str, Any]) -> bool:
    data = config["data"]
    return isinstance(data, dict) and data["class_path"] == "fdsr.data.FashionMNISTDataModule"


def untrained(config: dict[str, Any]) -> bool:
    return config["model"]["class_path"].endswith(("InterpolationModule", "RainFARMModule"))


def shrunk(path: Path, source: str, trained_regression: Path, trained_ddpm: Path) -> dict[str, Any]:
    """The experiment with its own method and settings, on the tiny source, with a tiny network, for one step."""
    config = load(path)
    fields = {
        "class_path": "fdsr.data.WeatherDataModule",
        "init_args": {
            "source": source, "variables": ["t2m", "u10"], "static": ["orography"], "factor": 4, "split": dict(SPLIT),
            "patch": [8, 16], "batch_size": 4, "patches_per_step": 4,
        },
    }  # fmt: skip
    images = {"class_path": "tiny_images.TinyImages", "init_args": {"batch_size": 4}}
    config["data"] = images if of_images(config) else fields
    arguments = config["model"]["init_args"]
    if "backbone_args" in arguments and arguments.get("backbone", "unet") == "unet":
        arguments["backbone_args"] |= TINY_UNET
    if "discriminator_args" in arguments:
        half = arguments.get("discriminator") == "unet_encoder"
        arguments["discriminator_args"] |= TINY_UNET if half else TINY_DDGAN["discriminator_args"]
    if config["model"]["class_path"].endswith("RainFARMModule"):  # u10 stands for an amount
        fields["init_args"]["transforms"] = {"u10": {"name": "cbrt", "lower": 0}}
    for name in NAMES_OF_REGRESSIONS:
        if str(arguments.get(name, "")).endswith(".ckpt"):
            arguments[name] = str(trained_regression)
    if "from_ddpm" in arguments:
        arguments["from_ddpm"] = str(trained_ddpm)
    config["trainer"] = config.get("trainer", {}) | {"accelerator": "cpu", "enable_progress_bar": False}
    if "max_steps" in config["trainer"]:
        config["trainer"]["max_steps"] = 1
    if "val_check_interval" in config["trainer"]:
        config["trainer"]["val_check_interval"] = 1
    return config


def test_there_are_experiments() -> None:
    assert "fourier_sr" in [path.stem for path in EXPERIMENTS]


def understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The verb's configuration as the program parses it: all keys and types, with included parts; nothing is built."""
    monkeypatch.setattr("sys.argv", ["fdsr"])
    from fdsr.training.lightning_cli import FdsrCLI

    parsed: list[Any] = []

    class ParseOnly(FdsrCLI):
        def before_instantiate_classes(self) -> None:
            parsed.append(self.config[self.subcommand])

        def instantiate_classes(self) -> None:
            self.before_instantiate_classes()

        def _run_subcommand(self, subcommand: str) -> None:
            """Nothing."""

    monkeypatch.setattr("sys.argv", ["fdsr", *arguments])
    ParseOnly()
    return parsed[0]


def test_every_file_is_an_experiment_or_a_sweep() -> None:
    assert {p.stem for p in FILES} - {p.stem for p in EXPERIMENTS + SWEEPS} == {"wandb_sweep"}


def kinds(sweep: Sweep) -> list[Point]:
    """The first point of every kind."""
    return list({(p.config, tuple(p.fit or ()), len(p.evaluations)): p for p in reversed(sweep.points)}.values())


def parsed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return understood([a.replace("--run", "--trainer.default_root_dir") for a in command], monkeypatch)


def evaluations(arguments: Any) -> int:
    """Network evaluations that a sample costs under a model's parsed arguments; a GAN takes T."""
    if "sampler" not in arguments:
        return int(arguments.timesteps)
    sampler = arguments.sampler
    cls = getattr(fdsr.diffusion, sampler.class_path.rpartition(".")[2])
    schedule = fdsr.diffusion.SCHEDULES[arguments.schedule](arguments.timesteps)
    return cls(**sampler.init_args).evaluations(schedule)


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in SWEEPS if read_sweep(p).table == "fid_vs_steps"], ids=lambda p: p.stem)
def test_sweep_of_images_is_understood_as_it_stands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(tmp_path, program=())
    for point in kinds(read_sweep(path)):
        values = parsed(runner.fit_command(point), monkeypatch)
        arguments = values.model.init_args
        assert arguments.timesteps == point.axes["T"] and values.seed_everything == point.axes["seed"]
        assert arguments.get("divergence") == point.axes.get("divergence")
        assert evaluations(arguments) <= arguments.timesteps and values.trainer.callbacks[0].init_args.every_n_steps
        for evaluation in point.evaluations:
            tested = parsed(runner.test_command(point, evaluation), monkeypatch)
            assert tested.model.init_args.backbone_args == arguments.backbone_args
            assert evaluations(tested.model.init_args) == evaluation.axes.get("nfe", point.axes["T"]), evaluation.name
            distances = tested.trainer.callbacks[0].init_args.distances
            assert "classifier_frechet" in distances or (evaluation.name.startswith("inception") and "fid" in distances)


COMPARISONS = sorted((ROOT / "experiments").glob("compare_weather*.yaml"))
REAL_FIELDS = sorted((ROOT / "experiments").glob("real_fields*.yaml"))


def training_evaluations(point: Point, constants: dict[str, Any]) -> int:
    """Of the networks whose number the comparison holds equal: a first stage's count, a discriminator's do not."""
    model, settings = load(point.config)["model"], point.fit or {}
    loss = settings.get("model.init_args.loss") or model["init_args"].get("loss") or {}
    loss = {"class_path": loss} if isinstance(loss, str) else loss
    method = model["class_path"].rpartition(".")[2]
    each = {"DDGANModule": 2, "CRPSModule": settings.get("model.init_args.draws", 2)}.get(method, 1)
    if loss.get("class_path") == "FourierReferenceLoss":
        each = 2
    each *= loss.get("init_args", {}).get("draws", 1)
    target = settings.get("model.init_args.target") or model["init_args"].get("target")
    first = constants["half"] if target == "regression" else 0
    return int(first + each * settings["trainer.max_steps"])


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda p: p.stem)
def test_the_comparison_is_fair(path: Path) -> None:
    """As its head promises: as many evaluations of the network for all, three seeds for what the conclusion rests on."""
    seeds: dict[str, dict[str, set[int]]] = {}
    constants = load(COMPARISONS[0])["constants"] | load(path)["constants"]
    assert constants["regressor"] == constants["backbone"] | {"time_embedding": False}
    for point in read_sweep(path).points:
        method, settings = point.name.split("-")[0], point.fit or {}
        seeds.setdefault(method, {}).setdefault(point.axes["data"], set()).add(point.axes["seed"])
        if point.fit is None:  # another's network
            continue
        if "backbone" in load(point.config)["model"]["init_args"]:
            expected = constants["full"] * (2 if method == "onepass_local_long" else 1)
            expected = constants["half"] if method == "first_stage" else expected
            assert training_evaluations(point, constants) == expected, point.name
            assert settings["model.init_args.backbone_args"] in (constants["backbone"], constants["regressor"])
        if "sampler" in load(point.config)["model"]["init_args"]:
            assert {8, 32} <= {e.settings["model.init_args.sampler.init_args.steps"] for e in point.evaluations}
            assert settings["model.init_args.sampler"]["init_args"]["spacing"] == "logsnr"
    everywhere = {"turbulence": {0, 1, 2}, "era5_sample": {0, 1, 2}}
    for method in (
        "regression_dressed", "regression_gaussian_dressed", "ddpm", "ddpm_ddim", "ddpm_eps", "ddpm_spectral", "ddpm_spectral_local",
        "fourier_coloured", "fourier_coloured_local", "onepass_points", "onepass_coefficients", "onepass_dressed",
        "onepass_local", "onepass_blocks_local", "ddgan_local", "two_stages_spectral_local", "two_stages_spectral_predicted",
        "two_stages_onepass_predicted",
    ):  # fmt: skip
        assert seeds[method] == everywhere, method


@pytest.mark.parametrize("path", REAL_FIELDS, ids=lambda p: p.stem)
def test_the_study_of_real_fields_is_fair(path: Path) -> None:
    """Evaluations alike; three seeds on each archive; the files named with source and sum; nothing of one place on rain."""
    constants = load(REAL_FIELDS[0])["constants"] | load(path).get("constants", {})
    seeds: dict[tuple[str, str], set[int]] = {}
    for point in read_sweep(path).points:
        data, settings = point.axes["data"], point.fit or {}
        seeds.setdefault((point.method, data), set()).add(point.axes["seed"])
        if point.fit is not None and "backbone" in load(point.config)["model"]["init_args"]:
            expected = constants["half"] if point.method == "first_stage" else constants["full"]
            if point.method.endswith("_short"):
                assert settings["trainer.max_steps"] == constants["quarter"] < expected, point.name
            else:
                assert training_evaluations(point, constants) == expected, point.name
        if data.startswith("rain"):
            assert settings.get("model.init_args.local_scale") != "climatological", point.name
    for method in (
        "regression_dressed",
        "regression_gaussian_dressed",
        "ddpm_spectral",
        "fourier_coloured",
        "onepass",
        "ddgan",
        "two_stages",
    ):
        for data in ("rain", "temperature", "heights", "turbulence", "era5_sample"):
            assert seeds[method, data] == {0, 1, 2}
    for data in ("rain", "rain_x8", "temperature", "heights"):
        part = load(ROOT / "experiments" / "parts" / f"{data}.yaml")["init_args"]
        assert len(part["sha256"]) == 64 and part["origin"] and PrepareConfig.given(part)["source"].startswith("cache/")


@pytest.mark.slow
@pytest.mark.parametrize("path", REAL_FIELDS, ids=lambda p: p.stem)
def test_the_study_of_real_fields_is_understood(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(tmp_path, program=())
    points = [p for p in read_sweep(path).points if p.fit is not None]
    # every configuration and all data once
    for point in ({p.config: p for p in points} | {p.axes["data"]: p for p in reversed(points)}).values():
        values = parsed(runner.fit_command(point), monkeypatch)
        part = load(path.parent / "parts" / f"{point.axes['data']}.yaml")["init_args"]
        assert values.data.init_args.source == part["source"], point.name


@pytest.mark.slow
@pytest.mark.parametrize("path", COMPARISONS, ids=lambda p: p.stem)
def test_the_comparison_is_understood_as_it_stands(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(tmp_path, program=())
    for point in {p.config: p for p in read_sweep(path).points if p.fit is not None}.values():
        values = parsed(runner.fit_command(point), monkeypatch)
        source = load(path.parent / "parts" / f"{point.axes['data']}.yaml")["init_args"]["source"]
        assert values.data.init_args.source == source and values.seed_everything == point.axes["seed"], point.name


@pytest.mark.slow
def test_the_server_sweep_starts_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an agent fills it in: the first value of every parameter, through the file's own shell command."""
    content = load(ROOT / "experiments" / "wandb_sweep.yaml")
    chosen = {k: v["value"] if "value" in v else v["values"][0] for k, v in content["parameters"].items()}
    assert content["command"][0] == "${env}" and content["command"][-1] == "${args}"
    spy = tmp_path / "fdsr"
    spy.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    spy.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WANDB_RUN_ID": "abc"}
    command = ["/usr/bin/env", *content["command"][1:-1], *(f"--{k}={v}" for k, v in chosen.items())]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=environment
    ).stdout.splitlines()
    assert said[:7] == [
        "fit",
        "--config",
        "experiments/ddgan_fashion.yaml",
        "--wandb",
        "online",
        "--run",
        "runs/wandb/abc",
    ]
    monkeypatch.chdir(ROOT)
    values = understood([*said[:5], *said[7:]], monkeypatch)
    assert values.model.init_args.divergence == "gan" and values.model.init_args.timesteps == 1
    assert values.trainer.callbacks[0].init_args.n_images == 5000


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_is_understood_as_it_stands(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys and types, with the parts that the file includes; nothing is built."""
    arguments = ["test" if untrained(load(path)) else "fit", "--config", str(path)]
    data = understood(arguments, monkeypatch).data
    if of_images(load(path)):
        assert data.class_path == "fdsr.data.FashionMNISTDataModule"
        return
    assert data.class_path == "fdsr.data.WeatherDataModule" and data.init_args.variables
    for source in (data.init_args.source, data.init_args.store):
        assert source is None or (ROOT / source).exists(), source


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_runs_on_tiny_data(
    path: Path, program: Callable[..., int], configure: Callable[..., Path], source_path: str, tmp_path: Path
) -> None:
    regression = tmp_path / "regression"
    config = load(path)
    if path.stem == "rainfarm":
        pytest.importorskip("pysteps")
    settings = config["model"].get("init_args", {})
    if any(str(settings.get(name, "")).endswith(".ckpt") for name in NAMES_OF_REGRESSIONS):
        assert program("fit", "--config", configure("RegressionModule", trainer__max_steps=1), "--run", regression) == 0
    if "from_ddpm" in settings:
        ddpm = DDPMModule(backbone_args=TINY_UNET)
        ddpm.attach(SPEC)
        save_pretrained(ddpm, tmp_path / "ddpm")
    small = tmp_path / path.name
    small.write_text(
        yaml.safe_dump(shrunk(path, source_path, regression / "checkpoints" / "last.ckpt", tmp_path / "ddpm"))
    )
    run = tmp_path / "run"
    if untrained(config):
        assert program("predict", "--config", small, "--run", run) == 0
        assert (run / "prediction.zarr").is_dir()
    else:
        assert program("fit", "--config", small, "--run", run) == 0
        assert (run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_the_demo_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands; and each finds what it begins from, which its own row has made before or is waited for."""
    monkeypatch.chdir(ROOT)
    demo = runpy.run_path(str(ROOT / "experiments" / "demo.py"))
    rows = [[demo["step"](name) for name in row] for row in demo["ROWS"]]
    assert {name.split()[0] for row in demo["ROWS"] for name in row} >= set(demo["TABLE"])
    results = [s.result for row in rows for s in row]
    assert len(set(results)) == len(results) and {s.needs for row in rows for s in row} - {None} <= set(results)
    for row in rows:
        for command, _, needs, _ in row:
            values = parsed(command, monkeypatch)
            given = values.model.init_args
            for name in NAMES_OF_REGRESSIONS:
                if command[0] == "fit" and str(given.get(name, "")).endswith(".ckpt"):
                    folder = RunFolder(needs.parent)
                    assert (str(folder.last_checkpoint), folder.fitted.path) == (str(given[name]), needs), command
    # rows that wait for each other in a circle would never end
    made: set[Path] = set()
    while left := [row for row in rows if row]:
        ready = [row for row in left if row[0].needs in (made | {None})]
        assert ready, left
        for row in ready:
            made.add(row.pop(0).result)
