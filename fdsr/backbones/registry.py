"""Networks by name: the configuration says `unet`, the registry finds the class and checks its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

NetworkClass = TypeVar("NetworkClass", bound=type[nn.Module])

_BACKBONES: dict[str, type[nn.Module]] = {}
_DISCRIMINATORS: dict[str, type[nn.Module]] = {}


def register_backbone(name: str) -> Callable[[NetworkClass], NetworkClass]:
    """Class decorator that makes a network known as `name`.

    The class takes the keywords in_channels and out_channels and its own settings, and its forward is
    `(x: (B, in_channels, H, W), t: (B,) or number or None, *, wrap: bool = False) -> (B, out_channels, H, W)` for any
    H, W ≥ 1. With `wrap` the last axis is a closed circle. One that has a setting latent_dim takes a further keyword
    `z: (B, latent_dim) or None`. Raises ValueError if the name is taken.
    """
    return _register(_BACKBONES, "backbone", name)


def register_discriminator(name: str) -> Callable[[NetworkClass], NetworkClass]:
    """Class decorator that makes a discriminator known as `name`.

    The class takes the keyword in_channels and its own settings, and its forward is
    `(x: (B, in_channels, H, W), t: (B,) or number, *, wrap: bool = False) -> (B,)`. Raises ValueError if the name is
    taken.
    """
    return _register(_DISCRIMINATORS, "discriminator", name)


def available_backbones() -> list[str]:
    """Names that `build_backbone` accepts, sorted."""
    return sorted(_BACKBONES)


def available_discriminators() -> list[str]:
    """Names that `build_discriminator` accepts, sorted."""
    return sorted(_DISCRIMINATORS)


def build_backbone(name: str, *, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
    """The network registered as `name`. Raises ValueError for an unknown name, setting or impossible value."""
    return _build(_BACKBONES, "backbone", name, settings, in_channels=in_channels, out_channels=out_channels)


def build_discriminator(name: str, *, in_channels: int, **settings: Any) -> nn.Module:
    """The discriminator registered as `name`. Raises ValueError as `build_backbone` does."""
    return _build(_DISCRIMINATORS, "discriminator", name, settings, in_channels=in_channels)


def _register(table: dict[str, type[nn.Module]], kind: str, name: str) -> Callable[[NetworkClass], NetworkClass]:
    def decorate(cls: NetworkClass) -> NetworkClass:
        if name in table:
            raise ValueError(f"{kind} {name!r} is registered already, as {table[name].__qualname__}")
        table[name] = cls
        return cls

    return decorate


def _build(
    table: dict[str, type[nn.Module]], kind: str, name: str, settings: dict[str, Any], **channels: int
) -> nn.Module:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; available: {', '.join(sorted(table))}")
    cls = table[name]
    accepted = [p for p in inspect.signature(cls).parameters if p not in channels]
    unknown = [key for key in settings if key not in accepted]
    if unknown:
        raise ValueError(f"{kind} {name!r} has no setting {', '.join(unknown)}; it accepts: {', '.join(accepted)}")
    return cls(**channels, **settings)
