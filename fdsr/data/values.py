"""Value transforms of single variables (before standardisation) and their inverses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fdsr.errors import FdsrError

# name -> (forward, inverse); both monotone, defined for x >= 0 where the name implies it
_FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "none": (lambda x: x, lambda y: y),
    "log1p": (lambda x: torch.log1p(x.clamp(min=0)), torch.expm1),
    "sqrt": (lambda x: x.clamp(min=0).sqrt(), lambda y: y.clamp(min=0) ** 2),
    "cbrt": (lambda x: x.sign() * x.abs() ** (1 / 3), lambda y: y**3),
}


_ODD = ("none", "cbrt")


@dataclass(frozen=True)
class ValueTransform:
    """How one variable is made fit for a Gaussian: y = f(x / scale), and a lower bound (physical units) afterwards.

    Precipitation, zero-inflated and skewed, wants `cbrt` or `log1p` (with a scale near its median wet amount) and
    `lower: 0`.
    """

    name: str = "none"
    scale: float = 1.0
    lower: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _FUNCTIONS:
            raise FdsrError(f"transform '{self.name}' is unknown; choose one of {', '.join(_FUNCTIONS)}")
        if not self.scale > 0:
            raise FdsrError(f"transform '{self.name}' has scale {self.scale}; it must be positive")

    @property
    def odd(self) -> bool:
        """Whether −x is as good a value as x, and becomes −y."""
        return self.name in _ODD and self.lower is None

    def forward(self, x: Tensor) -> Tensor:
        return _FUNCTIONS[self.name][0](x / self.scale)

    def inverse(self, y: Tensor) -> Tensor:
        x = _FUNCTIONS[self.name][1](y) * self.scale
        return x if self.lower is None else x.clamp(min=self.lower)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def apply_forward(transforms: list[ValueTransform], x: Tensor) -> Tensor:
    """Transform each channel of x (..., C, H, W) by its own transform."""
    if all(t.name == "none" and t.scale == 1.0 for t in transforms):
        return x
    return torch.stack([t.forward(c) for t, c in zip(transforms, x.unbind(-3), strict=True)], dim=-3)


def apply_inverse(transforms: list[ValueTransform], y: Tensor) -> Tensor:
    """Undo `apply_forward` on y (..., C, H, W), then apply each channel's lower bound."""
    if all(t == ValueTransform() for t in transforms):
        return y
    return torch.stack([t.inverse(c) for t, c in zip(transforms, y.unbind(-3), strict=True)], dim=-3)
