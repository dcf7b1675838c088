"""The command line's own help: every argument of every method and setting is described, and its choices are listed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jsonargparse
import pytest

import fdsr.diffusion as d
from fdsr.data.choices import Interpolation
from fdsr.diffusion.losses.robust import PENALTIES
from fdsr.modules import (
    ConsistencyModule,
    CRPSModule,
    DDGANModule,
    DDPMModule,
    DressedModule,
    FourierDDPMModule,
    InterpolationModule,
    LevelPairDDGANModule,
    RainFARMModule,
    RegressionModule,
)
from fdsr.modules.settings import accepted
from fdsr.modules.targets import LOCAL_SCALES, TARGETS

METHODS = [DDPMModule, FourierDDPMModule, ConsistencyModule, CRPSModule, DDGANModule, LevelPairDDGANModule, RegressionModule,
           DressedModule, InterpolationModule, RainFARMModule]  # fmt: skip
BASES: dict[str, type] = {
    "noise": d.Noise, "precondition": d.Preconditioning, "loss": d.Loss, "transform": d.Transform, "lat": d.Transform,
    "lon": d.Transform, "times": d.TimeSampling, "sampler": d.Sampler, "weight": d.SpectralWeight,
    "likelihood": d.Likelihood,
}  # fmt: skip
NAMES: dict[str, Any] = {
    "schedule": d.SCHEDULES, "prediction": d.PARAMETRISATIONS, "reverse_variance": d.REVERSE_VARIANCES,
    "divergence": d.DIVERGENCES, "target": TARGETS, "local_scale": LOCAL_SCALES, "spacing": d.SPACINGS, "penalty": PENALTIES,
    "method": get_args(Interpolation),
}  # fmt: skip
SETTINGS = [
    value for value in vars(d).values()
    if inspect.isclass(value) and issubclass(value, tuple(BASES.values())) and not inspect.isabstract(value)
    and value is not d.Transform
]  # fmt: skip


class Said(NamedTuple):
    """What help says of an argument."""

    description: str
    facts: str  # its type, default and known subclasses


def read_help(text: str, prefix: str) -> dict[str, Said]:
    """Of each argument, from the text that the parser prints; options that show a class's help are left out."""
    found = {}
    for block in re.split(rf"\n  --{re.escape(prefix)}\.", text)[1:]:
        # the name of an argument and of its value, a wider gap or a line's end, and what is said
        names, said = re.split(r"\n| {2,}", block, maxsplit=1)
        name, _, _ = names.partition(" ")
        if not name.endswith(".help"):
            description, facts = re.fullmatch(r"(.*?) ?\(((?:required, )?type: .*)\)", " ".join(said.split())).groups()  # type: ignore[union-attr]
            found[name] = Said(description, facts)
    return found


def check(said: dict[str, Said], cls: type) -> None:
    assert sorted(said) == sorted(accepted(cls))
    for name, (description, facts) in said.items():
        assert len(description) > 5, f"{cls.__name__}.{name} is not described"
        if name in BASES:
            public = {c for c in SETTINGS if issubclass(c, BASES[name])}
            assert all(f"fdsr.diffusion.{c.__name__}" in facts for c in public), f"{cls.__name__}.{name}: {facts}"
        if name in NAMES:
            assert all(f"'{choice}'" in facts for choice in NAMES[name]), f"{cls.__name__}.{name}: {facts}"


@pytest.mark.parametrize("cls", METHODS)
def test_every_argument_of_a_method_is_described(
    program: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cls: type
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        program("fit", "--model.help", f"fdsr.modules.{cls.__name__}")
    text = capfd.readouterr().out
    assert ended.value.code == 0
    check(read_help(text, "model"), cls)


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda c: c.__name__)
def test_every_argument_of_a_setting_is_described(monkeypatch: pytest.MonkeyPatch, cls: type) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(cls, "it", fail_untyped=False)
    check(read_help(parser.format_help(), "it"), cls)
    assert inspect.getdoc(cls) and inspect.getdoc(cls) != inspect.getdoc(cls.__mro__[1])


def test_silence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of help sees what is not described, so that the tests above can fail."""

    class Quiet(d.WhiteNoise):
        """A noise.

        Args:
            width: how wide it is.
        """

        def __init__(self, width: int = 1, spacing: str = "uniform", loudness: float = 1.0) -> None: ...

    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Quiet, "it")
    said = read_help(parser.format_help(), "it")
    assert said["width"].description == "how wide it is." and said["loudness"].description == ""
    with pytest.raises(AssertionError, match="spacing is not described"):
        check(said, Quiet)
