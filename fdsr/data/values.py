"""What is done to the values of single variables before standardisation, and undone afterwards: one class a transform.

A transform is named in `--transform` and in YAML, with its settings: `tp=log1p,scale=1e-4,lower=0`, or
`tp: {name: log1p, scale: 1e-4, lower: 0}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from fdsr.errors import FdsrError

if TYPE_CHECKING:  # what prepares data opens and checks it without torch
    from torch import Tensor

TRANSFORMS: dict[str, type[ValueTransform]] = {}


@dataclass(frozen=True)
class ValueTransform:
    """How one variable is made fit for a Gaussian: y = f(x / scale), and a lower bound (physical units) afterwards.

    A subclass has `function` f and `function_inverse`, both monotone and written with methods of tensors, and is a dataclass
    where it has settings of its own. One of a user's own module goes by its import path: `tp=mylab.Power,exponent=0.25`.

    Args:
        scale: a usual value, in the variable's unit
        lower: no value is below it when the transform has been undone; None: any may be
    """

    name: ClassVar[str]
    odd: ClassVar[bool] = False  # whether f(−x) = −f(x)

    scale: float = 1.0
    lower: float | None = None

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name or f"{cls.__module__}.{cls.__qualname__}"
        TRANSFORMS[cls.name] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "lower", None if self.lower is None else float(self.lower))
        if not self.scale > 0:
            raise FdsrError(f"transform '{self.name}' has scale {self.scale}; it must be positive")

    def function(self, x: Tensor) -> Tensor:
        """f, elementwise."""
        raise NotImplementedError

    def function_inverse(self, y: Tensor) -> Tensor:
        """f⁻¹, elementwise."""
        raise NotImplementedError

    @property
    def signed(self) -> bool:
        """Whether −x is as good a value as x, and becomes −y."""
        return self.odd and self.lower is None

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x / self.scale)

    def inverse(self, y: Tensor) -> Tensor:
        x = self.function_inverse(y) * self.scale
        return x if self.lower is None else x.clamp(min=self.lower)

    def to_dict(self) -> dict[str, Any]:
        """Its name and its settings; `make_transform` undoes it."""
        return {"name": self.name, **asdict(self)}


class Identity(ValueTransform, name="none"):
    """f(x) = x."""

    odd = True

    def function(self, x: Tensor) -> Tensor:
        return x

    def function_inverse(self, y: Tensor) -> Tensor:
        return y


class Log1p(ValueTransform, name="log1p"):
    """f(x) = ln(1 + x), for amounts: what is below 0 counts as 0. Wants a scale near the median wet amount."""

    def function(self, x: Tensor) -> Tensor:
        return x.clamp(min=0).log1p()

    def function_inverse(self, y: Tensor) -> Tensor:
        return y.expm1()


class SquareRoot(ValueTransform, name="sqrt"):
    """f(x) = √x, for amounts: what is below 0 counts as 0."""

    def function(self, x: Tensor) -> Tensor:
        return x.clamp(min=0).sqrt()

    def function_inverse(self, y: Tensor) -> Tensor:
        return y.clamp(min=0) ** 2


class CubeRoot(ValueTransform, name="cbrt"):
    """f(x) = ∛x, for zero-inflated amounts such as precipitation, with `lower` 0, and for signed skewed values without."""

    odd = True

    def function(self, x: Tensor) -> Tensor:
        return x.sign() * x.abs() ** (1 / 3)

    def function_inverse(self, y: Tensor) -> Tensor:
        return y**3


def make_transform(described: ValueTransform | Mapping[str, Any] | str) -> ValueTransform:
    """The transform that {name: …, and its settings}, or a name alone, describes.

    Raises FdsrError for an unknown name or setting.
    """
    if isinstance(described, str):
        described = {"name": described}
    if isinstance(described, ValueTransform):
        return described
    settings = dict(described)
    name = settings.pop("name", "none")
    if name not in TRANSFORMS and "." in name:
        try:
            import_module(name.rpartition(".")[0])
        except ImportError as error:
            raise FdsrError(f"transform '{name}' cannot be imported: {error}") from error
    if name not in TRANSFORMS:
        ours = ", ".join(own for own in TRANSFORMS if "." not in own)
        raise FdsrError(f"transform '{name}' is unknown; choose one of {ours}, or the path of a class of your own")
    known = [f.name for f in fields(TRANSFORMS[name])]
    for setting in settings:
        if setting not in known:
            raise FdsrError(f"transform '{name}' has no setting '{setting}'; it has {', '.join(known)}")
    try:
        return TRANSFORMS[name](**settings)
    except (TypeError, ValueError) as error:
        raise FdsrError(f"transform '{name}' cannot take {settings}: {error}") from error


def apply_forward(transforms: Sequence[ValueTransform], x: Tensor) -> Tensor:
    """Transform each channel of x (..., C, H, W) by its own transform."""
    import torch

    if all(isinstance(t, Identity) and t.scale == 1.0 for t in transforms):
        return x
    return torch.stack([t.forward(c) for t, c in zip(transforms, x.unbind(-3), strict=True)], dim=-3)


def apply_inverse(transforms: Sequence[ValueTransform], y: Tensor) -> Tensor:
    """Undo `apply_forward` on y (..., C, H, W), then apply each channel's lower bound."""
    import torch

    if all(t == Identity() for t in transforms):
        return y
    return torch.stack([t.inverse(c) for t, c in zip(transforms, y.unbind(-3), strict=True)], dim=-3)
