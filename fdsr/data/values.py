"""What is done to the values of single variables before standardisation, and undone afterwards: one class a transform.

A transform is named in `--transform` and in YAML, with its settings: `tp=log1p,scale=1e-4,lower=0`, or
`tp: {name: log1p, scale: 1e-4, lower: 0}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError

if TYPE_CHECKING:  # what prepares data opens and checks it without torch
    from torch import Tensor

TRANSFORMS: dict[str, type[ValueTransform]] = {}


@dataclass(frozen=True)
class ValueTransform:
    """How one variable is made fit for a Gaussian: y = f(x / scale), and a lower bound (physical units) afterwards.

    A subclass has `function` f and `function_inverse`, both monotone and written with methods of tensors, and is a dataclass
    where it has settings of its own. One of a user's own module goes by its import path: `tp=mylab.Power,exponent=0.25`.

    Settings that it names in `measured` may be None, which asks for what the train block's values say: `sums` of pieces of them
    are added up, and `fit` makes of the total a transform whose settings are all there. That one is recorded in the store.

    Args:
        scale: a usual value, in the variable's unit
        lower: no value is below it when the transform has been undone; None: any may be
    """

    name: ClassVar[str]
    odd: ClassVar[bool] = False  # whether f(−x) = −f(x)
    measured: ClassVar[tuple[str, ...]] = ()

    scale: float | None = 1.0
    lower: float | None = None

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name or f"{cls.__module__}.{cls.__qualname__}"
        TRANSFORMS[cls.name] = cls

    def __post_init__(self) -> None:
        for name in ("scale", "lower"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        if not (self.scale is None and "scale" in self.measured) and not (self.scale or 0) > 0:
            raise FdsrError(f"transform '{self.name}' has scale {self.scale}; it must be positive")

    @property
    def fitted(self) -> bool:
        """Whether nothing is left to be measured."""
        return all(getattr(self, name) is not None for name in self.measured)

    def sums(self, x: NDArray) -> NDArray[np.float64]:
        """What `fit` has to know of values x in physical units, NaN where one is missing: numbers that add up."""
        raise NotImplementedError

    def fit(self, sums: NDArray[np.float64]) -> Self:
        """This transform with what is to be measured, from `sums` added up. Raises FdsrError where they allow none."""
        raise NotImplementedError

    def idle(self, low: Any, factor: tuple[int, int]) -> Any:
        """Which coarse cells leave nothing open, given their means, a tensor or an array: deviations are not of them."""
        return low < -np.inf

    def completed(self, other: ValueTransform | None) -> Self:
        """This transform with what `other`, of the same name, has measured."""
        if other is None or other.name != self.name:
            return self
        return replace(self, **{n: getattr(other, n) for n in self.measured if getattr(self, n) is None})

    @property
    def unit(self) -> float:
        """The scale. Raises FdsrError where it is not measured yet."""
        if self.scale is None:
            raise FdsrError(f"transform '{self.name}' has no scale yet; prepare a store with it, or give its scale")
        return self.scale

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
        return self.function(x / self.unit)

    def inverse(self, y: Tensor) -> Tensor:
        x = self.function_inverse(y) * self.unit
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


@dataclass(frozen=True)
class ZeroInflated(ValueTransform, name="zero_inflated"):
    """For amounts that are 0 at most points and skewed at the others, such as precipitation: dry and wet lie a gap apart.

    With g the mapping, s the scale and θ the threshold,

        y = gap + g(x/s) − g(θ/s)  where x ≥ θ and x > 0;     y = (x/θ) · gap/2  below,

    so that dry points are at 0 and the least of the wet ones at `gap`, while coarse means below the threshold, of cells in which
    it rains here and there, still say how much. The way back goes to the nearer side: below gap/2 it is exactly 0, and never
    between 0 and θ. An error of less than gap/2 of a network makes no drizzle.

    Of the train block are measured, where they are not given, the scale, and the share of dry points for the record. Statistics
    (mean, deviations, spectra) are of points whose coarse cell is wet: over dry ones, which tell themselves what is in them,
    deviations would shrink with the size of the dry regions, and rain be many of them away.

    Args:
        scale: a usual wet amount, in the variable's unit; None: the geometric mean of the train block's wet values
        lower: no value is below it when the transform has been undone
        threshold: what is below it counts as dry, in the variable's unit; 0: what is 0
        mapping: g, one of the other transforms of amounts: log1p, sqrt, cbrt, or one of your own
        gap: between dry and threshold, in units of y; with log1p and the scale of the train block half of the wet values lie less
            than about 0.7 above the threshold
        dry: share of dry points in the train block
    """

    measured = ("scale", "dry")

    scale: float | None = None
    lower: float | None = 0.0
    threshold: float = 0.0
    mapping: str = "log1p"
    gap: float = 0.5
    dry: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threshold", "gap"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.lower != 0:
            raise FdsrError(f"transform '{self.name}' is of amounts, whose lower bound is 0, not {self.lower}")
        if not self.threshold >= 0 or not self.gap > 0:
            raise FdsrError(
                f"transform '{self.name}' has threshold {self.threshold} and gap {self.gap}; at least 0 and more than 0 will do"
            )
        if self.mapping == self.name:
            raise FdsrError(f"transform '{self.name}' needs another for mapping, such as log1p or cbrt")
        make_transform(self.mapping)  # or it is refused

    def wet(self, x: Any) -> Any:
        """Where values, a tensor or an array, are wet."""
        return (x >= self.threshold) & (x > 0)

    def sums(self, x: NDArray) -> NDArray[np.float64]:
        """Values present, wet ones, Σ ln x and Σ x of those, and Σ x of the negative ones."""
        wet, negative = (x[where].astype(np.float64) for where in (self.wet(x), x < 0))
        return np.array([np.count_nonzero(~np.isnan(x)), wet.size, np.log(wet).sum(), wet.sum(), negative.sum()])

    def fit(self, sums: NDArray[np.float64]) -> Self:
        present, wet, logarithms, amount, negative = sums.tolist()
        if -negative > 0.01 * amount and negative < -self.threshold * present:
            raise FdsrError(
                f"transform '{self.name}' is of amounts, and the train block has negative values; if these mark missing ones, give the "
                "source an attribute _FillValue that says so, else take cbrt, or none"
            )
        if not wet:
            raise FdsrError(
                f"no value of the train block reaches the threshold {self.threshold:g}; give one in the variable's own unit"
            )
        scale, mean = float(np.exp(logarithms / wet)), amount / wet
        if scale < 1e-3 * mean:
            raise FdsrError(
                f"the train block's wet values are {mean:.3g} on average and {scale:.3g} as a rule, so that most are zeros but for "
                "rounding; give the transform a threshold"
            )
        own = {"scale": scale, "dry": 1.0 - wet / present}
        return replace(self, **{n: v for n, v in own.items() if getattr(self, n) is None})

    def idle(self, low: Any, factor: tuple[int, int]) -> Any:
        return low <= 0.5 * self.threshold / (factor[0] * factor[1])  # a single wet point makes more

    def _least(self, x: Tensor) -> Tensor:
        """g(θ/s), as a number of the type of x."""
        return make_transform(self.mapping).function(x.new_tensor(self.threshold / self.unit))

    def forward(self, x: Tensor) -> Tensor:
        above = make_transform(self.mapping).function(x / self.unit) - self._least(x)
        below = x.clamp(min=0) * (0.5 * self.gap / self.threshold if self.threshold else 0.0)
        return above.clamp(min=0).add(self.gap).where(self.wet(x), below)

    def inverse(self, y: Tensor) -> Tensor:
        above = (y - self.gap).clamp(min=0) + self._least(y)
        x = make_transform(self.mapping).function_inverse(above) * self.unit
        return x.clamp(min=self.threshold).where(y >= 0.5 * self.gap, 0.0).where(~y.isnan(), y)


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
