"""Networks by name: the configuration says `unet`, or the path of a class, and here it is found and its settings checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any, Literal, TypeVar

from torch import nn

NetworkClass = TypeVar("NetworkClass", bound=type[nn.Module])
Kind = Literal["backbone", "discriminator"]

_NETWORKS: dict[Kind, dict[str, type[nn.Module]]] = {"backbone": {}, "discriminator": {}}
# what a network of each kind is told of the data
_CHANNELS: dict[Kind, list[str]] = {"backbone": ["in_channels", "out_channels"], "discriminator": ["in_channels"]}


def register_backbone(name: str) -> Callable[[NetworkClass], NetworkClass]:
    """Class decorator that makes a network known as `name`; without a name it is known by its import path.

    The class takes the keywords in_channels and out_channels and its own settings, and its forward is
    `(x: (B, in_channels, H, W), t: (B,) or number or None, *, wrap: bool = False) -> (B, out_channels, H, W)` for any
    H, W ≥ 1. With `wrap` the last axis is a closed circle. One that has a setting latent_dim takes a further keyword
    `z: (B, latent_dim) or None`. Raises ValueError if the name is taken.
    """
    return _register("backbone", name)


def register_discriminator(name: str) -> Callable[[NetworkClass], NetworkClass]:
    """Class decorator that makes a discriminator known as `name`; without a name it is known by its import path.

    The class takes the keyword in_channels and its own settings, and its forward is
    `(x: (B, in_channels, H, W), t: (B,) or number, *, wrap: bool = False) -> (B,)`. Raises ValueError if the name is
    taken.
    """
    return _register("discriminator", name)


def available_backbones() -> list[str]:
    """Names that `build_backbone` accepts besides import paths, sorted."""
    return sorted(_NETWORKS["backbone"])


def build_backbone(name: str, *, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
    """The network registered as `name`, or importable by it. ValueError for an unknown name, setting or impossible value."""
    return find_network("backbone", name, settings)(in_channels=in_channels, out_channels=out_channels, **settings)


def build_discriminator(name: str, *, in_channels: int, **settings: Any) -> nn.Module:
    """The discriminator registered as `name`, or importable by it. Raises ValueError as `build_backbone` does."""
    return find_network("discriminator", name, settings)(in_channels=in_channels, **settings)


def find_network(kind: Kind, name: str, settings: Mapping[str, Any]) -> type[nn.Module]:
    """The class called `name`, which takes `settings`. Raises ValueError for an unknown name or setting."""
    known = _NETWORKS[kind]
    cls = known[name] if name in known else _imported(kind, name)
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return cls
    accepted = [p for p in parameters if p not in _CHANNELS[kind]]
    unknown = [key for key in settings if key not in accepted]
    if unknown:
        raise ValueError(f"{kind} {name!r} has no setting {', '.join(unknown)}; it accepts: {', '.join(accepted)}")
    for key, value in settings.items():
        for types, what in ((int | float, "a number"), (tuple | list, "a list")):
            if isinstance(parameters[key].default, types) and not isinstance(value, types):
                raise ValueError(f"{kind} {name!r}: {key} is {value!r}; it must be {what}")
    return cls


def _imported(kind: Kind, path: str) -> type[nn.Module]:
    if "." not in path:
        known = ", ".join(sorted(_NETWORKS[kind]))
        raise ValueError(f"unknown {kind} {path!r}; available: {known}, or the import path of a class of your own")
    try:
        cls = resolve_name(":".join(path.rsplit(".", 1)))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} {path!r} cannot be imported: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, nn.Module)):
        raise ValueError(f"{kind} {path!r} is no torch.nn.Module")
    return cls


def _register(kind: Kind, name: str) -> Callable[[NetworkClass], NetworkClass]:
    table = _NETWORKS[kind]

    def decorate(cls: NetworkClass) -> NetworkClass:
        if name in table:
            raise ValueError(f"{kind} {name!r} is registered already, as {table[name].__qualname__}")
        table[name] = cls
        return cls

    return decorate
