"""Networks by name: the configuration says `unet`, the registry finds the class and checks its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

BackboneClass = TypeVar("BackboneClass", bound=type[nn.Module])

_BACKBONES: dict[str, type[nn.Module]] = {}


def register_backbone(name: str) -> Callable[[BackboneClass], BackboneClass]:
    """Class decorator that makes a network known as `name`.

    The class takes the keywords in_channels and out_channels and its own settings, and its forward is
    `(x: (B, in_channels, H, W), t: (B,) or number or None, *, wrap: bool = False) -> (B, out_channels, H, W)` for any
    H, W ≥ 1. With `wrap` the last axis is a closed circle. Raises ValueError if the name is taken.
    """

    def decorate(cls: BackboneClass) -> BackboneClass:
        if name in _BACKBONES:
            raise ValueError(f"backbone {name!r} is registered already, as {_BACKBONES[name].__qualname__}")
        _BACKBONES[name] = cls
        return cls

    return decorate


def available_backbones() -> list[str]:
    """Names that `build_backbone` accepts, sorted."""
    return sorted(_BACKBONES)


def build_backbone(name: str, *, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
    """The network registered as `name`. Raises ValueError for an unknown name, setting or impossible value."""
    if name not in _BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; available: {', '.join(available_backbones())}")
    cls = _BACKBONES[name]
    accepted = [p for p in inspect.signature(cls).parameters if p not in ("in_channels", "out_channels")]
    unknown = [key for key in settings if key not in accepted]
    if unknown:
        raise ValueError(f"backbone {name!r} has no setting {', '.join(unknown)}; it accepts: {', '.join(accepted)}")
    return cls(in_channels=in_channels, out_channels=out_channels, **settings)
