"""Names and settings, known and unknown."""

import pytest
from torch import nn

from fdsr.backbones import available_backbones, build_backbone, register_backbone, registry


def test_names() -> None:
    assert {"dit", "unet"} <= set(available_backbones())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown backbone 'vgg'; available: dit, unet"):
        build_backbone("vgg", in_channels=1, out_channels=1)


def test_unknown_setting_is_named_with_the_accepted_ones() -> None:
    with pytest.raises(ValueError, match=r"backbone 'unet' has no setting widht; it accepts: width, mult") as caught:
        build_backbone("unet", in_channels=1, out_channels=1, widht=8)
    assert "\n" not in str(caught.value)
    assert "in_channels" not in str(caught.value)


def test_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BACKBONES", dict(registry._BACKBONES))

    @register_backbone("linear")
    class Linear(nn.Conv2d):
        def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
            super().__init__(in_channels, out_channels, 1, bias=bias)

    assert isinstance(build_backbone("linear", in_channels=1, out_channels=1, bias=False), Linear)
    assert "linear" in available_backbones()
    with pytest.raises(ValueError, match="registered already"):
        register_backbone("linear")(Linear)
