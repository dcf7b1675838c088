"""Value transforms are inverted, and lower bounds hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdsr.data.values import ValueTransform, apply_forward, apply_inverse
from fdsr.errors import FdsrError

amounts = st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=20).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


@given(x=amounts, name=st.sampled_from(["none", "log1p", "sqrt", "cbrt"]), scale=st.floats(1e-3, 1e3))
def test_inverse_undoes_forward(x: torch.Tensor, name: str, scale: float) -> None:
    transform = ValueTransform(name, scale)
    torch.testing.assert_close(transform.inverse(transform.forward(x)), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["none", "cbrt"])
def test_signed_values_survive(name: str) -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    transform = ValueTransform(name)
    torch.testing.assert_close(transform.inverse(transform.forward(x)), x)


def test_known_values() -> None:
    x = torch.tensor([0.0, 16.0])
    assert ValueTransform("sqrt", 4.0).forward(x).tolist() == [0.0, 2.0]
    assert ValueTransform("cbrt", 2.0).forward(x).tolist() == pytest.approx([0.0, 2.0])
    assert ValueTransform("log1p", 1.0).forward(x).tolist() == pytest.approx([0.0, 2.833213])


@given(
    y=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20),
    name=st.sampled_from(["none", "log1p", "sqrt", "cbrt"]),
)
def test_lower_bound(y: list[float], name: str) -> None:
    assert ValueTransform(name, lower=0.0).inverse(torch.tensor(y)).min() >= 0


def test_channels_keep_their_own_transform() -> None:
    transforms = [ValueTransform(), ValueTransform("sqrt", lower=0.0), ValueTransform(lower=1.0)]
    x = torch.rand(2, 3, 4, 5) * 9
    y = apply_forward(transforms, x)
    torch.testing.assert_close(y, torch.stack([x[:, 0], x[:, 1].sqrt(), x[:, 2]], dim=1))
    back = apply_inverse(transforms, y)
    torch.testing.assert_close(back, torch.stack([x[:, 0], x[:, 1], x[:, 2].clamp(min=1)], dim=1))


def test_refused() -> None:
    with pytest.raises(FdsrError, match="log1p, sqrt, cbrt"):
        ValueTransform("log")
    with pytest.raises(FdsrError, match="positive"):
        ValueTransform("sqrt", 0.0)
