"""Value transforms are inverted, and lower bounds hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdsr.commands.prepare import transform as option
from fdsr.data import PrepareConfig
from fdsr.data.values import (
    TRANSFORMS,
    CubeRoot,
    Identity,
    Log1p,
    SquareRoot,
    apply_forward,
    apply_inverse,
    make_transform,
)
from fdsr.errors import FdsrError

amounts = st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=20).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


@given(x=amounts, name=st.sampled_from(["none", "log1p", "sqrt", "cbrt"]), scale=st.floats(1e-3, 1e3))
def test_inverse_undoes_forward(x: torch.Tensor, name: str, scale: float) -> None:
    transform = TRANSFORMS[name](scale)
    torch.testing.assert_close(transform.inverse(transform.forward(x)), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["none", "cbrt"])
def test_signed_values_survive(name: str) -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    transform = TRANSFORMS[name]()
    torch.testing.assert_close(transform.inverse(transform.forward(x)), x)


def test_known_values() -> None:
    x = torch.tensor([0.0, 16.0])
    assert SquareRoot(4.0).forward(x).tolist() == [0.0, 2.0]
    assert CubeRoot(2.0).forward(x).tolist() == pytest.approx([0.0, 2.0])
    assert Log1p(1.0).forward(x).tolist() == pytest.approx([0.0, 2.833213])


@given(
    y=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20),
    name=st.sampled_from(["none", "log1p", "sqrt", "cbrt"]),
)
def test_lower_bound(y: list[float], name: str) -> None:
    assert TRANSFORMS[name](lower=0.0).inverse(torch.tensor(y)).min() >= 0


def test_channels_keep_their_own_transform() -> None:
    transforms = [Identity(), SquareRoot(lower=0.0), Identity(lower=1.0)]
    x = torch.rand(2, 3, 4, 5) * 9
    y = apply_forward(transforms, x)
    torch.testing.assert_close(y, torch.stack([x[:, 0], x[:, 1].sqrt(), x[:, 2]], dim=1))
    back = apply_inverse(transforms, y)
    torch.testing.assert_close(back, torch.stack([x[:, 0], x[:, 1], x[:, 2].clamp(min=1)], dim=1))


POWER = """
from dataclasses import dataclass
from fdsr.data import ValueTransform

@dataclass(frozen=True)
class Power(ValueTransform):
    exponent: float = 0.25

    def function(self, x):
        return x**self.exponent

    def function_inverse(self, y):
        return y ** (1 / self.exponent)
"""


def test_a_new_transform_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mylab.py").write_text(POWER)
    monkeypatch.syspath_prepend(tmp_path)
    name, described = option("tp=mylab.Power,exponent=0.5,lower=0")
    transform = PrepareConfig("source", ["tp"], transforms={name: described}).transforms["tp"]
    assert transform.to_dict() == {"name": "mylab.Power", "scale": 1.0, "lower": 0.0, "exponent": 0.5}
    assert transform.forward(torch.tensor([9.0])).tolist() == [3.0] and not transform.signed
    assert transform.inverse(torch.tensor([3.0])).tolist() == [9.0]
    # where a store or a checkpoint names it, in a process that has not seen it yet
    TRANSFORMS.pop("mylab.Power")
    sys.modules.pop("mylab")
    assert make_transform(transform.to_dict()).to_dict() == transform.to_dict()
    TRANSFORMS.pop("mylab.Power")
    sys.modules.pop("mylab")


def test_settings_on_the_command_line_and_in_files() -> None:
    for text, transform in (
        ("tp=cbrt,0", CubeRoot(lower=0)),
        ("tp=log1p,scale=1e-4,lower=0", Log1p(1e-4, lower=0)),
        ("tp=sqrt", SquareRoot()),
    ):
        name, described = option(text)
        assert name == "tp" and make_transform(described) == transform
    # as stores and checkpoints hold it
    assert CubeRoot(lower=0).to_dict() == {"name": "cbrt", "scale": 1.0, "lower": 0.0}
    assert str(CubeRoot(lower=0).to_dict()["lower"]) == "0.0"


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"name": "log"}, "log1p, sqrt, cbrt, or the path of a class of your own"),
        ({"name": "nolab.Power"}, "transform 'nolab.Power' cannot be imported"),
        ({"name": "sqrt", "scale": 0.0}, "positive"),
        ({"name": "sqrt", "exponent": 2}, "no setting 'exponent'; it has scale, lower"),
        ({"name": "sqrt", "lower": "low"}, "cannot take"),
    ],
)
def test_refused(described: dict, words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        make_transform(described)
