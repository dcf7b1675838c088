"""Every configuration in experiments/ is understood, and runs when pointed at tiny data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic import SPLIT, TINY_DDGAN, TINY_UNET

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def of_images(config: dict[str, Any]) -> bool:
    data = config["data"]
    return isinstance(data, dict) and data["class_path"] == "fdsr.data.FashionMNISTDataModule"


def shrunk(path: Path, source: str, trained_regression: Path) -> dict[str, Any]:
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
        arguments["discriminator_args"] |= TINY_DDGAN["discriminator_args"]
    if str(arguments.get("mean", "")).endswith(".ckpt"):
        arguments["mean"] = str(trained_regression)
    config["trainer"] = config.get("trainer", {}) | {"accelerator": "cpu", "enable_progress_bar": False}
    if "max_steps" in config["trainer"]:
        config["trainer"]["max_steps"] = 1
    if "val_check_interval" in config["trainer"]:
        config["trainer"]["val_check_interval"] = 1
    return config


def test_there_are_experiments() -> None:
    assert "fourier_sr" in [path.stem for path in EXPERIMENTS]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_is_understood_as_it_stands(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys and types, with the parts that the file includes; nothing is built."""
    monkeypatch.setattr("sys.argv", ["fdsr"])
    from fdsr.lightning_cli import FdsrCLI, L
    from fdsr.modules import DownscalingModule

    parsed: list[Any] = []

    class ParseOnly(FdsrCLI):
        def before_instantiate_classes(self) -> None:
            parsed.append(self.config[self.subcommand])

        def instantiate_classes(self) -> None:
            self.before_instantiate_classes()

        def _run_subcommand(self, subcommand: str) -> None:
            """Nothing."""

    arguments = ["test" if path.stem in ("bicubic", "bilinear") else "fit", "--config", str(path)]
    monkeypatch.setattr("sys.argv", ["fdsr", *arguments])
    ParseOnly(
        DownscalingModule, L.LightningDataModule, subclass_mode_model=True, subclass_mode_data=True, save_config_callback=None,
        seed_everything_default=0, parser_kwargs={"exit_on_error": False},
    )  # fmt: skip
    data = parsed[0].data
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
    if str(config["model"].get("init_args", {}).get("mean", "")).endswith(".ckpt"):
        assert program("fit", "--config", configure("RegressionModule", trainer__max_steps=1), "--run", regression) == 0
    small = tmp_path / path.name
    small.write_text(yaml.safe_dump(shrunk(path, source_path, regression / "checkpoints" / "last.ckpt")))
    run = tmp_path / "run"
    if config["model"]["class_path"].endswith("InterpolationModule"):
        assert program("predict", "--config", small, "--run", run) == 0
        assert (run / "prediction.zarr").is_dir()
    else:
        assert program("fit", "--config", small, "--run", run) == 0
        assert (run / "checkpoints" / "last.ckpt").is_file()
