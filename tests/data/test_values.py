"""Value transforms are inverted, and lower bounds hold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
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
    ZeroInflated,
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
        ("tp=zero_inflated,threshold=0.1,mapping=cbrt", ZeroInflated(threshold=0.1, mapping="cbrt")),
    ):
        name, described = option(text)
        assert name == "tp" and make_transform(described) == transform
    # as stores and checkpoints hold it
    assert CubeRoot(lower=0).to_dict() == {"name": "cbrt", "scale": 1.0, "lower": 0.0}
    assert str(CubeRoot(lower=0).to_dict()["lower"]) == "0.0"


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"name": "log"}, "log1p, sqrt, cbrt, zero_inflated, or the path of a class of your own"),
        ({"name": "nolab.Power"}, "transform 'nolab.Power' cannot be imported"),
        ({"name": "sqrt", "scale": 0.0}, "positive"),
        ({"name": "sqrt", "exponent": 2}, "no setting 'exponent'; it has scale, lower"),
        ({"name": "sqrt", "lower": "low"}, "cannot take"),
        ({"name": "sqrt", "scale": None}, "positive"),
        ({"name": "zero_inflated", "threshold": -1}, "threshold -1"),
        ({"name": "zero_inflated", "gap": 0}, "gap 0"),
        ({"name": "zero_inflated", "mapping": "log"}, "'log' is unknown"),
        ({"name": "zero_inflated", "mapping": "zero_inflated"}, "needs another for mapping"),
        ({"name": "zero_inflated", "lower": None}, "lower bound is 0"),
    ],
)
def test_refused(described: dict, words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        make_transform(described)


def rain(shape: tuple[int, ...], seed: int = 0, threshold: float = 0.1) -> np.ndarray:
    """Thresholded log-normal amounts: about four of five points are 0."""
    x = np.random.default_rng(seed).lognormal(-1.5, 1.5, shape).astype(np.float32)
    return np.where(x < 8 * threshold, 0.0, x - 7 * threshold).astype(np.float32)


@pytest.mark.parametrize("mapping", ["log1p", "sqrt", "cbrt"])
def test_dry_and_wet_lie_a_gap_apart(mapping: str) -> None:
    transform = ZeroInflated(scale=1.5, threshold=0.1, mapping=mapping, gap=0.4)
    y = transform.forward(torch.tensor([-1e-9, 0.0, 0.0999, 0.1, 0.1001, 30.0]))
    assert y[:2].tolist() == [0.0, 0.0] and 0.19 < float(y[2]) < 0.2
    assert float(y[3]) == pytest.approx(0.4) and bool((y.diff() >= 0).all())
    # above the threshold the mapping alone counts
    g = TRANSFORMS[mapping]().function(torch.tensor([0.1, 30.0]) / 1.5)
    assert float(y[5] - y[3]) == pytest.approx(float(g[1] - g[0]), rel=1e-5)


@pytest.mark.parametrize("mapping", ["log1p", "sqrt", "cbrt"])
@pytest.mark.parametrize("threshold", [0.1, 0.0])
def test_zeros_come_back_exactly_and_nothing_lies_between(mapping: str, threshold: float) -> None:
    x = torch.from_numpy(rain((64, 64)))
    transform = ZeroInflated(scale=1.0, threshold=threshold, mapping=mapping)
    # through standardisation, whose rounding must not make a wet point dry
    y = (transform.forward(x) - 0.31) / 0.47
    back = transform.inverse(y * 0.47 + 0.31)
    assert torch.equal(back == 0, x == 0)
    torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-5)
    noisy = transform.inverse(
        transform.forward(x) + 0.3 * torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    )
    assert bool(((noisy == 0) | (noisy >= threshold)).all()) and 0.1 < float((noisy == 0).float().mean()) < 1.0
    if threshold:  # less than half of the gap makes nothing wet, and nothing dry
        small = 0.24 * (2 * torch.rand(64, 64, generator=torch.Generator().manual_seed(2)) - 1)
        assert torch.equal(transform.inverse(transform.forward(x) + small) == 0, x == 0)
    assert transform.inverse(torch.tensor([torch.nan, -5.0])).nan_to_num(-1).tolist() == [-1.0, 0.0]


def test_means_below_the_threshold_still_say_how_much() -> None:
    transform = ZeroInflated(scale=1.0, threshold=0.1, gap=0.5)
    y = transform.forward(torch.tensor([0.0, 0.025, 0.05]))
    assert y.tolist() == pytest.approx([0.0, 0.0625, 0.125])
    assert transform.inverse(y).tolist() == [0.0, 0.0, 0.0]


def test_scale_and_share_of_dry_points_are_of_the_values() -> None:
    x = rain((3, 40, 50))
    x[1, :20] = np.nan
    asked = ZeroInflated(threshold=0.2)
    assert not asked.fitted
    with pytest.raises(FdsrError, match="no scale yet"):
        asked.forward(torch.zeros(1))
    fitted = asked.fit(np.sum([asked.sums(part) for part in x], axis=0))  # sums add up
    present = x[~np.isnan(x)]
    assert fitted.fitted and fitted.dry == pytest.approx(float((present < 0.2).mean()))
    assert fitted.scale == pytest.approx(float(np.exp(np.log(present[present >= 0.2]).mean())), rel=1e-5)
    assert make_transform(fitted.to_dict()) == fitted
    assert asked.completed(fitted) == fitted and ZeroInflated(threshold=0.1).completed(fitted) != fitted
    # what was given stays
    assert ZeroInflated(scale=3.0, threshold=0.2).fit(asked.sums(x)).to_dict() == fitted.to_dict() | {"scale": 3.0}


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([0.0, 3e-4, 1e-5]), "no value of the train block reaches the threshold 0.1"),
        (np.array([0.0, 3.0, -5.0]), "negative values; if these mark missing ones"),
    ],
)
def test_values_that_are_no_amounts_are_refused(x: np.ndarray, words: str) -> None:
    transform = ZeroInflated(threshold=0.1)
    with pytest.raises(FdsrError, match=words):
        transform.fit(transform.sums(x))


def test_zeros_but_for_rounding_want_a_threshold() -> None:
    x = np.array([2e-19] * 90 + [1.0] * 10)
    with pytest.raises(FdsrError, match="zeros but for rounding; give the transform a threshold"):
        ZeroInflated().fit(ZeroInflated().sums(x))
    # some packings leave zeros a little below 0
    packed = np.array([-2e-12] * 90 + [1.0] * 10)
    assert ZeroInflated().fit(ZeroInflated().sums(packed)).dry == pytest.approx(0.9)
