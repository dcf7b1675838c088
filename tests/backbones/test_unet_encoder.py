"""The discriminator that is half of a U-Net: any size, closed circles, and what R1 asks of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fdsr.backbones import build_backbone, build_discriminator


def build(**settings: Any) -> nn.Module:
    return build_discriminator(
        "unet_encoder", in_channels=3, **({"width": 8, "multipliers": (1, 2), "groups": 4} | settings)
    )


@pytest.mark.parametrize(
    "settings", [{}, {"patch_size": 2, "blocks": 2, "norm": "pixel"}, {"pool": "mean", "group": 1}]
)
@pytest.mark.parametrize("size", [(1, 1), (9, 14), (16, 16)])
def test_one_number_a_sample_for_any_size(settings: dict[str, Any], size: tuple[int, int]) -> None:
    net = build(**settings)
    v = net(torch.randn(5, 3, *size), torch.tensor([0.0, 1.0, 10.0, 500.0, 1000.0]))
    assert v.shape == (5,) and bool(v.isfinite().all())
    assert net(torch.randn(2, 3, *size), 3.0).shape == (2,)


def test_it_has_the_names_of_half_a_unet_and_tells_samples_apart_from_the_start() -> None:
    net = build()
    unet: Any = build_backbone("unet", in_channels=3, out_channels=1, width=8, multipliers=(1, 2), groups=4)
    names = [k for k in unet.state_dict() if not k.startswith(("decoder", "norm", "head"))]
    assert list(net.encoder.state_dict()) == names  # type: ignore[operator, union-attr]
    with torch.no_grad():
        assert 0.05 < float(net(torch.randn(64, 3, 16, 16), 500.0).std()) < 50


def test_closed_circle_does_not_know_where_it_was_cut() -> None:
    net = build(group=1).double()
    x = torch.randn(2, 3, 9, 16, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll(4, -1), 3.0, wrap=True), net(x, 3.0, wrap=True))
    assert (net(x.roll(4, -1), 3.0) - net(x, 3.0)).abs().max() > 1e-6


def test_second_derivatives_are_right_through_attention_too() -> None:
    net = build(multipliers=(1, 1), attention_levels=(1,), attention_heads=2, groups=2).double()
    for p in net.parameters():  # blocks and attention begin at zero
        nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda a: net(a, 1.0), x, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"pool": "max"}, "pool must be one of sum, mean"), ({"group": 0}, "group at least 1"), ({"groups": 3}, "unet: width"),
     ({"depth": 2}, "no setting depth")],
)  # fmt: skip
def test_impossible_settings_are_one_clear_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)
