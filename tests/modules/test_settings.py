"""Settings as plain values: every public one comes back from them, and what cannot is refused in one line."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from synthetic import TINY_DDGAN, TINY_UNET

import fdsr.diffusion as d
from fdsr.errors import FdsrError
from fdsr.modules import (
    DDGANModule,
    DDPMModule,
    DressedModule,
    FourierDDPMModule,
    InterpolationModule,
    RainFARMModule,
    RegressionModule,
)
from fdsr.modules.ddgan import DivergenceName
from fdsr.modules.ddpm import PredictionName, ScheduleName, VarianceName
from fdsr.modules.downscaling import LocalScaleName, TargetName
from fdsr.modules.settings import accepted, build, plain
from fdsr.modules.targets import LOCAL_SCALES, TARGETS

Program = Callable[..., int]
BASES = (d.Noise, d.Preconditioning, d.ScoreTerm, d.Loss, d.Transform, d.TimeSampling, d.Sampler, d.SpectralWeight)
# every setting that the package offers, by its class
PUBLIC = {
    value
    for value in vars(d).values()
    if inspect.isclass(value)
    and issubclass(value, BASES)
    and not inspect.isabstract(value)
    and value is not d.Transform
}
shares, positive = st.floats(0, 1), st.floats(1e-9, 1e3)
spacings, counts = st.sampled_from(list(d.SPACINGS)), st.integers(1, 1000)
weights = st.builds(d.PowerLawWeight, st.floats(-3, 3), st.floats(1e-3, 1), st.floats(1, 1e3)) | st.builds(
    d.InverseAmplitudeWeight, st.floats(1e-3, 1), st.floats(1, 1e3)
)
transforms = st.recursive(
    st.sampled_from([d.RealFourier(), d.Cosine(), d.Haar()]) | st.builds(d.Globe, st.none() | counts),
    lambda inner: st.builds(d.Product, lat=inner, lon=inner),
    max_leaves=3,
)
SETTINGS: dict[type, st.SearchStrategy[Any]] = {
    d.WhiteNoise: st.just(d.WhiteNoise()),
    d.ColouredNoise: st.builds(d.ColouredNoise, shares, st.floats(1e-9, 1)),
    **{c: st.just(c()) for c in (d.NoPreconditioning, d.ScalarPreconditioning, d.SpectralPreconditioning)},
    d.CoefficientCRPS: st.just(d.CoefficientCRPS()),
    d.BlockCRPS: st.builds(d.BlockCRPS, st.lists(st.integers(2, 16), min_size=1, max_size=4).map(tuple)),
    d.SimpleLoss: st.builds(d.SimpleLoss, counts),
    d.FourierReferenceLoss: st.just(d.FourierReferenceLoss()),
    d.SpectralWeightedLoss: st.builds(d.SpectralWeightedLoss, weights),
    d.WhitenedLoss: st.just(d.WhitenedLoss()),
    d.RobustSpectralLoss: st.builds(d.RobustSpectralLoss, positive, st.sampled_from(["charbonnier", "l1"])),
    d.SpectrumNormLoss: st.builds(d.SpectrumNormLoss, positive, counts, positive),
    d.PowerLawWeight: weights,
    d.InverseAmplitudeWeight: weights,
    **dict.fromkeys((d.RealFourier, d.Cosine, d.Haar, d.Product, d.Globe), transforms),
    d.StratifiedTimes: st.just(d.StratifiedTimes()),
    d.SignalTimes: st.builds(d.SignalTimes, positive),
    d.LogitNormalTimes: st.builds(d.LogitNormalTimes, st.floats(-3, 3), positive),
    d.Ancestral: st.builds(d.Ancestral, st.none() | counts, spacings),
    d.DDIM: st.builds(d.DDIM, counts, spacings, shares),
    d.DPMSolverPP: st.builds(d.DPMSolverPP, counts, spacings),
    d.Renoising: st.builds(d.Renoising, counts, spacings),
}


# -- to plain values and back ------------------------------------------------------------------------------------------


def test_every_public_setting_is_tested() -> None:
    assert set(SETTINGS) == PUBLIC


@given(setting=st.one_of(*SETTINGS.values()))
def test_a_setting_comes_back_from_its_description(setting: Any) -> None:
    values = plain(setting, "it")
    for text in (json.loads(json.dumps(values)), yaml.safe_load(yaml.safe_dump(values))):
        assert text == values
        module, _, name = text["class_path"].rpartition(".")
        assert module == "fdsr.diffusion"  # where users import it from
        cls = getattr(importlib.import_module(module), name)
        again = build(cls, text["init_args"], "it")
        assert type(again) is type(setting) and again == setting and hash(again) == hash(setting)
        assert plain(again, "it") == values


@given(
    noise=SETTINGS[d.ColouredNoise],
    loss=SETTINGS[d.SpectralWeightedLoss],
    transform=transforms,
    sampler=SETTINGS[d.DDIM],
)
def test_a_module_comes_back_from_its_hparams(noise: Any, loss: Any, transform: Any, sampler: Any) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, noise=noise, loss=loss, transform=transform, sampler=sampler)
    again = build(DDPMModule, json.loads(json.dumps(dict(module.hparams))), "it")
    assert dict(again.hparams) == dict(module.hparams) and list(module.hparams) != []
    assert (again.noise, again.objective, again.transform, again.sampler) == (noise, loss, transform, sampler)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (DDPMModule, {}),
        (FourierDDPMModule, {"betas": (0.8, 0.95), "lr": np.float64(1e-3)}),
        (DDGANModule, dict(TINY_DDGAN)),
        (RegressionModule, {"backbone_args": TINY_UNET | {"time_embedding": False}}),
        (DressedModule, {"smoothing": 3}),
        (InterpolationModule, {"method": "bilinear"}),
        (RainFARMModule, {"alpha": np.float64(2.5), "kernel": "gaussian"}),
    ],
)
def test_hparams_are_all_arguments_and_plain(cls: Any, arguments: dict[str, Any]) -> None:
    hparams = dict(cls(**arguments).hparams)
    assert sorted(hparams) == sorted(accepted(cls))
    assert json.loads(json.dumps(hparams)) == hparams  # no tuples, no numbers but Python's
    assert {type(v) for v in hparams.values()} <= {dict, list, int, float, str, bool, type(None)}


class Passing(d.SimpleLoss):
    """A loss of one's own that passes what it does not know on to its parent."""

    def __init__(self, sharpness: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        object.__setattr__(self, "sharpness", sharpness)


def test_arguments_of_a_parent_are_not_lost() -> None:
    values = plain(Passing(2.0, draws=3), "it")
    assert values == {"class_path": f"{__name__}.Passing", "init_args": {"sharpness": 2.0, "draws": 3}}


class Forgetful(d.WhiteNoise):
    """A noise that does not keep what it was made with."""

    def __init__(self, width: int = 3) -> None:
        object.__setattr__(self, "twice", 2 * width)


@pytest.mark.parametrize(
    ("cls", "arguments", "words"),
    [
        (DDPMModule, {"noise": Forgetful()}, r"model\.noise is a Forgetful, .* let it keep its argument 'width'"),
        (DDPMModule, {"backbone_args": {"width": torch.ones(2)}}, r"model\.backbone_args\.width is a Tensor"),
        (DDPMModule, {"backbone_args": {"width": {8, 16}}}, r"model\.backbone_args\.width is a set"),
        (DDGANModule, {"divergence": replace(d.DIVERGENCES["gan"], name="own")}, r"model\.divergence\.f is a function"),
    ],
)
def test_what_cannot_be_described_is_refused(cls: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words + ".*which a checkpoint cannot describe|" + words) as caught:
        cls(**arguments)
    assert "\n" not in str(caught.value) and "cannot describe" in str(caught.value)


# -- arguments that nobody takes ---------------------------------------------------------------------------------------


def test_a_foreign_argument_is_refused_in_python() -> None:
    with pytest.raises(TypeError, match="stepps"):
        DDPMModule(stepps=3)
    for cls, values in (
        (DDPMModule, {"stepps": 3}),
        (DDPMModule, {"sampler": {"class_path": "DDIM", "init_args": {"stepps": 3}}}),
        (d.DDIM, {"stepps": 3}),
    ):
        with pytest.raises(FdsrError, match="stepps") as caught:
            build(cast(Any, cls), values, "'a.ckpt'")
        assert "\n" not in str(caught.value) and str(caught.value).startswith("'a.ckpt': ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": lambda task: task.x_0.mean()}, r"model\.loss is <function"),
        ({"sampler": d.DDIM}, r"model\.sampler is <class"),
    ],
)
def test_a_class_or_a_function_is_no_object(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        DDPMModule(**arguments)


@pytest.mark.parametrize("name", ["noise", "precondition", "loss", "transform", "times", "sampler"])
def test_a_name_is_no_object(name: str) -> None:
    with pytest.raises(
        FdsrError, match=rf"^model\.{name} is 'ddim'; give an object of a class that derives from fdsr\.diffusion\."
    ):
        DDPMModule(**{name: "ddim"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model.stepps=3"], ["stepps"]),
        (["--model.sampler.stepps=3"], ["stepps"]),
        (["--model.sampler=Euler"], ["Euler"]),
        (["--model.sampler.spacing=karras"], ["karras", "quadratic"]),
        (["--model.schedule=cubic"], ["cubic", "cosine"]),
        (["--model.noise=ColouredNoise", "--model.noise.exponent=2"], ["exponent in [0, 1]", "not 2"]),
        # settings that do not fit each other
        (["--model.timesteps=8", "--model.sampler.steps=9"], ["steps must lie in 1..T = 8, not 9"]),
        (["--model.timesteps=0"], ["T >= 1"]),
        (["--model.sampler=DDIM", "--model.sampler.eta=2"], ["eta must lie in [0, 1]"]),
        (["--model.backbone_args.wdith=9"], ["wdith", "width"]),
        (["--model.backbone=resnet"], ["resnet", "unet"]),
    ],
)
def test_bad_settings_are_refused_by_the_program(
    program: Program, configure: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], words: list[str],
) -> None:  # fmt: skip
    assert program("fit", "--config", configure("DDPMModule"), "--run", tmp_path / "run", *arguments) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fdsr: error")]
    assert all(word in line for word in words), line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_sampler_keeps_what_both_take(program: Program, configure: Callable[..., Path], tmp_path: Path) -> None:
    """`--model.sampler DDIM` over a file's DPM-Solver++ keeps steps and spacing, as the parser does with every class."""
    config, run = configure("DDPMModule", model__timesteps=5, trainer__max_steps=1), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run, "--model.sampler=DDIM", "--model.sampler.eta=1") == 0
    found = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["hyper_parameters"]["sampler"]
    before = yaml.safe_load(config.read_text())["model"]["init_args"]["sampler"]["init_args"]
    assert found == plain(d.DDIM(**before, eta=1.0), "it")


# -- the command line and Python agree ---------------------------------------------------------------------------------

MIXED: list[tuple[type[L.LightningModule], dict[str, Any], list[str]]] = [
    (
        DDPMModule,
        {"noise": d.ColouredNoise(0.5), "loss": d.SpectralWeightedLoss(d.InverseAmplitudeWeight(w_max=5.0)),
         "transform": d.Globe(), "sampler": d.DDIM(3, "logsnr", eta=0.5), "timesteps": 50, "times": d.SignalTimes(0.25),
         "prediction": "eps", "betas": (0.8, 0.95)},
        ["--model.noise=ColouredNoise", "--model.noise.exponent=0.5", "--model.loss=SpectralWeightedLoss",
         "--model.loss.weight=InverseAmplitudeWeight", "--model.loss.weight.w_max=5", "--model.transform=Globe",
         "--model.sampler={class_path: DDIM, init_args: {steps: 3, spacing: logsnr, eta: 0.5}}", "--model.timesteps=50",
         "--model.times=SignalTimes", "--model.times.power=0.25", "--model.prediction=eps", "--model.betas=[0.8, 0.95]"],
    ),
    (FourierDDPMModule, {"sampler": d.DPMSolverPP(2)}, ["--model.sampler.steps=2"]),
    (DDGANModule, TINY_DDGAN | {"divergence": "kl"}, ["--model.divergence=kl"]),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "arguments", "flags"), MIXED, ids=lambda v: getattr(v, "__name__", ""))
def test_hparams_are_the_same_from_python_and_from_the_program(
    program: Program, configure: Callable[..., Path], tmp_path: Path, cls: Any, arguments: dict[str, Any], flags: list[str]
) -> None:  # fmt: skip
    config, run = configure(cls.__name__, trainer__max_steps=1), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run, *flags) == 0
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    given = yaml.safe_load(config.read_text())["model"]["init_args"]
    module = cls(**({k: v for k, v in given.items() if k != "sampler"} | arguments))
    assert checkpoint["hyper_parameters"] == dict(module.hparams)
    assert checkpoint["fdsr_class"] == f"fdsr.modules.{cls.__name__}"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        (ScheduleName, d.SCHEDULES),
        (PredictionName, d.PARAMETRISATIONS),
        (VarianceName, d.REVERSE_VARIANCES),
        (DivergenceName, d.DIVERGENCES),
        (TargetName, TARGETS),
        (LocalScaleName, LOCAL_SCALES),
        (d.spacing.SpacingName, d.SPACINGS),
    ],
)
def test_literal_names_are_the_tables(name: Any, table: dict[str, Any]) -> None:
    assert sorted(get_args(name)) == sorted(table)
