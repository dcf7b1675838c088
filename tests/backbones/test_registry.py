"""Names and settings, known and unknown; networks of a user's own by their import path."""

import sys
import types

import pytest
from torch import nn

from fdsr.backbones import (
    available_backbones,
    build_backbone,
    build_discriminator,
    register_backbone,
    registry,
)


def test_names() -> None:
    assert {"dit", "unet"} <= set(available_backbones())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown backbone 'vgg'; available: dit, unet, or the import path"):
        build_backbone("vgg", in_channels=1, out_channels=1)


def test_unknown_setting_is_named_with_the_accepted_ones() -> None:
    with pytest.raises(ValueError, match=r"backbone 'unet' has no setting widht; it accepts: width, mult") as caught:
        build_backbone("unet", in_channels=1, out_channels=1, widht=8)
    assert "\n" not in str(caught.value)
    assert "in_channels" not in str(caught.value)


class Linear(nn.Conv2d):
    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)


def test_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._NETWORKS, "backbone", dict(registry._NETWORKS["backbone"]))
    register_backbone("linear")(Linear)
    assert isinstance(build_backbone("linear", in_channels=1, out_channels=1, bias=False), Linear)
    assert "linear" in available_backbones()
    with pytest.raises(ValueError, match="registered already"):
        register_backbone("linear")(Linear)


@pytest.fixture
def mylab(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name, which holds a network and something else."""
    module = types.ModuleType("mylab")
    module.Linear, module.WIDTH, module.Open = Linear, 8, type("Open", (nn.Module,), {"__init__": open_init})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mylab", module)


def open_init(self: nn.Module, in_channels: int, **settings: object) -> None:
    nn.Module.__init__(self)
    self.settings = settings  # type: ignore[assignment]


@pytest.mark.usefixtures("mylab")
def test_an_import_path_is_a_name() -> None:
    network = build_backbone("mylab.Linear", in_channels=2, out_channels=3, bias=False)
    assert isinstance(network, Linear) and network.weight.shape == (3, 2, 1, 1) and network.bias is None
    # one that takes whatever it is given is its own judge
    assert build_discriminator("mylab.Open", in_channels=2, depth=9).settings == {"depth": 9}
    assert "mylab.Linear" not in available_backbones()


@pytest.mark.usefixtures("mylab")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mylab.Linear", r"backbone 'mylab\.Linear' has no setting depth; it accepts: bias"),
        ("mylab.WIDTH", "'mylab.WIDTH' is no torch.nn.Module"),
        ("mylab.Lost", "'mylab.Lost' cannot be imported: module 'mylab' has no attribute 'Lost'"),
        ("nolab.Net", "'nolab.Net' cannot be imported: No module named 'nolab'"),
    ],
)
def test_paths_that_lead_nowhere(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        build_backbone(path, in_channels=1, out_channels=1, depth=3)
    assert "\n" not in str(caught.value)
