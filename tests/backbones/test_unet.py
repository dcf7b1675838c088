"""The U-Net's own promises: sizes, settings, errors."""

import pytest
import torch

from fdsr.backbones import build_backbone


def parameters(name: str, **kwargs: object) -> int:
    with torch.device("meta"):
        net = build_backbone(name, in_channels=20, out_channels=4, **kwargs)
    return sum(p.numel() for p in net.parameters())


def test_sized_from_a_third_of_a_million_to_a_hundred_million() -> None:
    assert parameters("unet", width=16, multipliers=(1, 2, 2)) < 0.3e6
    assert 0.7e6 < parameters("unet") < 1.1e6
    large = parameters("unet", width=128, multipliers=(1, 2, 3, 4), blocks=3, attention_levels=(2, 3))
    assert 90e6 < large < 110e6


def test_dit_small_and_large() -> None:
    assert parameters("dit", width=64, depth=4) < 0.6e6
    assert 90e6 < parameters("dit", width=768, depth=9, heads=12) < 110e6


def test_without_time() -> None:
    kwargs = {"in_channels": 3, "out_channels": 2, "width": 8}
    net = build_backbone("unet", time_embedding=False, **kwargs)
    assert not any("modulation" in name or "embed" in name for name, _ in net.named_parameters())
    assert net(torch.randn(1, 3, 8, 8)).shape == (1, 2, 8, 8)
    with pytest.raises(ValueError, match="takes no t"):
        net(torch.randn(1, 3, 8, 8), 1)


@pytest.mark.parametrize(("norm", "local"), [("pixel", True), ("group", False)])
def test_pixel_norm_is_blind_to_what_is_far_away(norm: str, local: bool) -> None:
    net = build_backbone("unet", in_channels=3, out_channels=2, width=8, multipliers=(1,), norm=norm)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 3, 40, 4)
    with torch.no_grad():
        difference = (net(x, 1)[..., :20, :] - net(x[..., :36, :], 1)[..., :20, :]).abs().max()
    assert (difference < 1e-5) == local


def test_dropout_acts_in_training_only() -> None:
    net = build_backbone("unet", in_channels=3, out_channels=2, width=8, dropout=0.5)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(net(x, 1), net(x, 1))
        assert torch.equal(net.eval()(x, 1), net(x, 1))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width": 30}, "width 30 must be a multiple of groups 8"),
        ({"attention_levels": (3,)}, "attention level 3 does not exist; levels are 0…2"),
        ({"attention_levels": (0,), "attention_heads": 5}, "32 channels do not divide into 5 heads"),
        ({"norm": "batch"}, "norm 'batch' is neither 'group' nor 'pixel'"),
        ({"blocks": 0}, "at least 1"),
        ({"multipliers": ()}, "multipliers"),
    ],
)
def test_impossible_settings_are_one_clear_line(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_backbone("unet", in_channels=3, out_channels=2, **kwargs)
    assert "\n" not in str(caught.value)
