"""Modules from files give identical predictions; files that do not fit, or carry code, are refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import pair_config

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule, prepare
from fdsr.diffusion import Ancestral, ColouredNoise, SimpleLoss
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule, RegressionModule, load_module, save_pretrained
from fdsr.modules.agreement import require_agreement
from fdsr.modules.first_stage import FirstStage
from fdsr.modules.pretrained import read_checkpoint

Build = Callable[..., DownscalingModule]
METHODS = ["InterpolationModule", "RegressionModule", "DDPMModule", "FourierDDPMModule", "DDGANModule"]


@pytest.fixture
def checkpoint(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], tmp_path: Path
) -> Callable[[str], tuple]:
    """checkpoint(method): (the module after two steps of training, the checkpoint's path)."""

    def make(name: str) -> tuple[DownscalingModule, Path]:
        module = build(name)
        trainer = quiet_trainer(max_steps=2, limit_val_batches=0)
        trainer.fit(module, datamodule=data)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        return module.eval(), tmp_path / "a.ckpt"

    return make


@pytest.mark.parametrize("name", ["RegressionModule", "FourierDDPMModule", "DDGANModule"])
def test_checkpoint_round_trip(checkpoint: Callable[[str], tuple], field_batch: WeatherBatch, name: str) -> None:
    module, path = checkpoint(name)
    loaded = load_module(path)
    assert type(loaded) is type(module) and not loaded.training
    assert torch.equal(loaded.generate(field_batch, 2, 3), module.generate(field_batch, 2, 3))
    assert not loaded.spec.differences(module.spec)
    torch.load(path, weights_only=True)  # plain containers and tensors alone


@pytest.mark.parametrize("name", METHODS)
def test_folder_round_trip(build: Build, field_batch: WeatherBatch, tmp_path: Path, name: str) -> None:
    module = build(name)
    folder = save_pretrained(module, tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_module(folder)
    assert torch.equal(loaded.generate(field_batch, 2, 3), module.generate(field_batch, 2, 3))
    assert loaded.spec.fingerprint == module.spec.fingerprint and json.dumps(loaded.hparams) == json.dumps(
        module.hparams
    )
    with pytest.raises(FdsrError, match="exists already"):
        save_pretrained(module, folder)


def test_the_loaded_settings_are_the_saved_ones(build: Build, tmp_path: Path) -> None:
    module = build("DDPMModule", sampler=Ancestral(7), members=3, timesteps=50, target="full", loss=SimpleLoss(draws=2))
    loaded = load_module(save_pretrained(module, tmp_path / "model"))
    assert (loaded.sampler, loaded.members, loaded.process.T, loaded.target) == (Ancestral(7), 3, 50, "full")
    assert loaded.objective == SimpleLoss(draws=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variables": ["u10", "t2m"]}, ["variables", "['t2m', 'u10'] against ['u10', 't2m']"]),
        ({"variables": ["t2m"]}, ["variables", "['t2m']"]),
        ({"factor": (2, 2)}, ["factor (4, 4) against (2, 2)"]),
        ({"crop": (0, 90, 0, 360)}, ["latitudes 86.25…-86.25 (24) against 86.25…3.75 (12)"]),
        ({"static": []}, ["static fields ['orography'] against []"]),
        ({"split": {"train": 9, "test": 3}}, ["fingerprint", "other statistics or splits"]),
    ],
)
def test_other_data_are_refused_in_one_line(
    build: Build, source_path: str, tmp_path: Path, changes: dict, words: list[str]
) -> None:
    other = PairStore(prepare(pair_config(source_path, **changes), tmp_path / "other.zarr"))
    saved: dict = {}
    build("RegressionModule").on_save_checkpoint(saved)
    module = build("RegressionModule")
    module.on_load_checkpoint(saved)  # its own are welcome
    module = RegressionModule(backbone_args=module.hparams["backbone_args"])
    module.attach(other.spec)
    with pytest.raises(FdsrError, match="does not match the store") as caught:
        module.on_load_checkpoint(saved)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("name", "trained", "here", "said"),
    [
        ("DDPMModule", {"prediction": "v"}, {"prediction": "x0"}, r"model.prediction 'v', not 'x0'"),
        ("DDPMModule", {"noise": ColouredNoise(0.5)}, {}, r"model.noise ColouredNoise\(.*\), not WhiteNoise\(\)"),
        (
            "DDPMModule",
            {"noise": ColouredNoise(0.5)},
            {"noise": ColouredNoise()},
            r"exponent=0.5, .*not .*exponent=1.0",
        ),
        ("DDPMModule", {"local_scale": "climatological"}, {}, "model.local_scale 'climatological', not 'none'"),
        ("DDGANModule", {"timesteps": 2}, {"timesteps": 4}, "model.timesteps 2, not 4"),
        ("CRPSModule", {"dressed": False}, {"dressed": True}, "model.dressed False, not True"),
    ],
)
def test_weights_that_mean_something_else_are_refused(
    build: Build, tmp_path: Path, name: str, trained: dict[str, Any], here: dict[str, Any], said: str
) -> None:
    """Equal shapes are not enough: the same numbers under another parametrisation are plausible and wrong."""
    saved = build(name, **trained)
    checkpoint = {"hyper_parameters": dict(saved.hparams), "state_dict": saved.state_dict()}
    saved.on_save_checkpoint(checkpoint)
    with pytest.raises(FdsrError, match=said) as caught:
        build(name, **here).on_load_checkpoint(checkpoint)
    assert "\n" not in str(caught.value) and "--config" in str(caught.value)
    build(name, **trained, seed=3).on_load_checkpoint(checkpoint)


def test_settings_that_another_version_knew_are_no_disagreement() -> None:
    saved = {"noise": {"class_path": "fdsr.old.place.Coloured", "init_args": {"exponent": 1.0}}, "gone": 1}
    own = {"noise": {"class_path": "fdsr.diffusion.Coloured", "init_args": {"exponent": 1.0, "new": 2}}, "new": 3}
    require_agreement(("noise", "gone", "new"), saved, own)


def test_a_grid_without_units_is_an_earlier_versions(build: Build, tmp_path: Path) -> None:
    saved: dict = {}
    build("RegressionModule").on_save_checkpoint(saved)
    spec = saved["fdsr_spec"]
    assert spec.pop("grid.units") == "degrees" and {"grid.rows", "grid.columns"} <= set(spec)
    for key in ("rows", "columns"):
        spec[{"rows": "lat", "columns": "lon"}[key]] = spec.pop(f"grid.{key}")
    with pytest.raises(FdsrError, match="saved by an earlier version of fdsr, whose grids lack units; train it anew"):
        build("RegressionModule").on_load_checkpoint(saved)


class Code:
    """Unpickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    content = {"fdsr_spec": {}, "state_dict": Code(trace)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    for load in (read_checkpoint, load_module):
        with pytest.raises(FdsrError, match="carries code") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    assert not trace.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())  # the trap is real
        assert trace.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DDPMModule", "written by an earlier version of fdsr (method 'DDPMModule'); train it again"),
        (
            "nolab.methods.Mine",
            "'nolab.methods.Mine' cannot be imported (No module named 'nolab'); start Python where 'nolab.meth",
        ),
        ("fdsr.modules.OldModule", "written by 'fdsr.modules.OldModule', which is no method here"),
        ("fdsr.errors.FdsrError", "written by 'fdsr.errors.FdsrError', which is no method here"),
    ],
)
def test_methods_that_are_not_here(
    checkpoint: Callable[[str], tuple], program: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    name: str, words: str,
) -> None:  # fmt: skip
    """A checkpoint and a model folder whose method has no path, as once, or one that leads nowhere: one line, no traceback."""
    module, path = checkpoint("DDPMModule")
    torch.save(torch.load(path, weights_only=True) | {"fdsr_class": name}, path)
    folder = save_pretrained(module, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"class": name}))
    for place in (path, folder):
        with pytest.raises(FdsrError) as caught:
            load_module(place)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    assert program("export", path, tmp_path / "shared") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line and not (tmp_path / "shared").exists()


def test_a_setting_that_is_not_here(checkpoint: Callable[[str], tuple]) -> None:
    """A checkpoint of other settings than this version has, or of a class that cannot be imported."""
    _, path = checkpoint("DDPMModule")
    saved = torch.load(path, weights_only=True)
    for changes, words in (
        ({"mode": "weighted"}, "mode"),
        ({"sampler": "dpmsolver++"}, r"sampler.*dpmsolver\+\+"),
        ({"noise": {"class_path": "nolab.Pink", "init_args": {}}}, "nolab"),
    ):
        torch.save(saved | {"hyper_parameters": saved["hyper_parameters"] | changes}, path)
        with pytest.raises(FdsrError, match=words) as caught:
            load_module(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        assert "was it saved by another version of fdsr than" in str(caught.value)


def test_a_folder_that_is_damaged_or_newer(checkpoint: Callable[[str], tuple], tmp_path: Path) -> None:
    """Weights cut short or of another network, a configuration cut short, a first stage that says more than is known here."""
    folder = save_pretrained(checkpoint("DDPMModule")[0], tmp_path / "model")
    weights, config = ((folder / name).read_bytes() for name in ("model.safetensors", "config.json"))
    values = json.loads(config)
    wider = values | {"hyper_parameters": values["hyper_parameters"] | {"backbone_args": {"width": 32}}}
    for name, content, words in (
        ("model.safetensors", weights[:1000], "model' is damaged: .*; copy it again"),
        ("config.json", config[:100], "model' is damaged: .*; copy it again"),
        ("config.json", json.dumps(wider).encode(), "cannot be loaded: .*was it saved by another version of fdsr than"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(FdsrError, match=words) as caught:
            load_module(folder)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_bytes(config)
    with pytest.raises(FdsrError, match="first stage was saved by a newer version of fdsr: it has colour"):
        FirstStage.from_dict({"backbone": "unet", "state.head": torch.ones(1), "colour": 1})


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FdsrError, match="does not exist"):
        load_module(tmp_path / "none.ckpt")
    for name, content in (("empty", b""), ("text", b"hello"), ("half", b"PK\x03\x04broken")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FdsrError) as caught:
            load_module(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(FdsrError, match="not written by fdsr"):
        load_module(tmp_path / "foreign.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(FdsrError, match="not written by fdsr"):
        load_module(tmp_path / "list.ckpt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FdsrError, match="not a model folder"):
        load_module(tmp_path / "folder")
