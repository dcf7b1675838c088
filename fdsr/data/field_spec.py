"""What a model must carry of a pair store: the kind of its fields, their statistics over the train block, and the place."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fdsr import __version__
from fdsr.data.attribution import owed
from fdsr.data.values import Identity, ValueTransform, make_transform
from fdsr.data.windows import Window
from fdsr.errors import FdsrError, require_alike
from fdsr.grids import Grid
from fdsr.grids.cf import read_coordinates

STATISTICS = ("high_mean", "high_std", "low_mean", "low_std", "residual_std", "power_field", "power_residual")
TIME_CHANNELS = 4  # sine and cosine of the day of the year, and of local solar time
_GRID = "grid."  # before the names of its grid's values in a checkpoint


@dataclass
class FieldSpec:
    """Channels, train-block statistics, grid and static fields of a pair store.

    A model has a *kind*: channels and their units, spacing, factor, transforms, statistics; those of the static fields too, over the
    place of its training. `grid`, `static`, `present` and `local_scale` are of a *place*, and `fdsr.data.place.at` exchanges them.

    Shapes: C high channels, D low channels, S static channels, fine grid (H, W). Statistics are of *transformed* values;
    those of the residual (fine minus interpolated coarse) are in units of the channel's standard deviation. Saved in every
    checkpoint, so that a model can be used with the coarse fields alone.

    Where values may be missing (a *masked* store) `present` says which fine points any train step has.
    """

    high_channels: list[str]
    low_channels: list[str]
    attributes: dict[str, dict[str, str]]  # per variable: units, standard_name, long_name
    high_transforms: list[ValueTransform]
    low_transforms: list[ValueTransform]
    factor: tuple[int, int]
    interpolation: str
    grid: Grid  # the fine one
    static_channels: list[str]
    static: Tensor  # (S, H, W) in physical units
    high_mean: Tensor  # (C,)
    high_std: Tensor  # (C,)
    low_mean: Tensor  # (D,)
    low_std: Tensor  # (D,)
    residual_std: Tensor  # (C,)
    power_field: Tensor  # (C, K_y, K_x) mean square orthonormal cosine coefficient of the standardised field
    power_residual: Tensor  # (C, K_y, K_x) likewise of the residual divided by its standard deviation
    fingerprint: str
    present: Tensor | None = None  # (C, H, W) bool; None: nothing is ever missing
    local_scale: Tensor | None = None  # (C, H, W) of the residual, in units of its deviation; None: not measured
    power_local: Tensor | None = None  # (C, K_y, K_x) of the residual divided by both
    time_channels: bool = False  # whether the condition tells day of year and solar time, as the data module asks
    position: bool = True  # whether it tells the place on the sphere, likewise
    static_mean: Tensor | None = None  # (S,) over the place of training; None: this place is that
    static_std: Tensor | None = None  # (S,)
    independent_low: bool = False  # whether coarse fields are of an archive of their own, no block means
    owed: dict[str, str] | None = None  # to the makers of the data, see `fdsr.data.attribution`; None: not recorded

    def __post_init__(self) -> None:
        if self.static_mean is None or self.static_std is None:
            self.static_mean, self.static_std = self._static_statistics()

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, attributes: dict, where: str, split: str | None = None) -> FieldSpec:
        """The specification of a pair store opened at `where`, from its variables and its root's attributes.

        Its place is the whole grid, or where blocks are regions that of `split`; the local scale is known in `train` alone.
        """
        config = attributes["config"]
        transforms = {k: make_transform(v) for k, v in config["transforms"].items()}
        high, low, static = (
            [str(v) for v in ds[name].values] for name in ("high_channel", "low_channel", "static_channel")
        )

        def tensor(name: str) -> Any:
            return torch.from_numpy(ds[name].values.copy())

        grid, windows = read_coordinates(ds, where), Window.of_splits(attributes)
        window = windows.get(split or "", Window.whole(grid.shape))
        scaled = "local_scale" in ds.variables and (not windows or split == "train")

        return cls(
            high_channels=high,
            low_channels=low,
            attributes=attributes["variables"],
            high_transforms=[transforms.get(n, Identity()) for n in high],
            low_transforms=[transforms.get(n, Identity()) for n in low],
            factor=tuple(config["factor"]),
            interpolation=config["interpolation"],
            grid=window.part(grid) if windows else grid,
            static_channels=static,
            static=window.cut(tensor("static")),
            **{n: tensor(n) for n in STATISTICS},
            fingerprint=attributes["fingerprint"],
            present=window.cut(tensor("present")).bool() if "present" in ds.variables else None,
            local_scale=window.cut(tensor("local_scale")) if scaled else None,
            power_local=tensor("power_local") if "power_local" in ds.variables else None,
            independent_low=bool(config.get("low_source")),
            owed=owed(attributes),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the fine grid."""
        return self.grid.shape

    @property
    def periodic(self) -> bool:
        """Whether a row of the fine grid closes the circle of longitude."""
        return self.grid.periodic

    @property
    def low_grid(self) -> Grid:
        """The coarse grid."""
        return self.grid.coarse(self.factor)

    @property
    def synthetic(self) -> bool:
        """Whether the fields are no weather: their source calls each variable synthetic, as `fdsr synthesise` always does."""
        names = [self.attributes.get(name, {}).get("long_name", "") for name in self.high_channels]
        return any("synthetic" in name.lower() for name in names)

    @property
    def masked(self) -> bool:
        """Whether values may be missing (NaN)."""
        return self.present is not None

    @property
    def base_index(self) -> list[int]:
        """For each high channel the low channel of the same name, or −1."""
        return [self.low_channels.index(n) if n in self.low_channels else -1 for n in self.high_channels]

    @property
    def place_channels(self) -> int:
        """Channels of `conditioning`."""
        masks = len(self.high_channels) if self.masked else 0
        return len(self.static_channels) + 3 * self.position + masks + TIME_CHANNELS * self.time_channels

    def _static_statistics(self) -> tuple[Tensor, Tensor]:
        """(mean, deviation) of the static fields over this place, (S,) float64, without what is missing in a masked store."""
        static = self.static.double()
        if self.present is not None:
            mean = static.nanmean((-2, -1), keepdim=True)
            return mean.flatten(), (static - mean).square().nanmean((-2, -1)).sqrt().clamp(min=1e-12)
        mean = static.mean((-2, -1), keepdim=True)
        points = static.shape[-2] * static.shape[-1]
        # Tensor.std would warn where there are no static fields
        variance = (static - mean).square().sum((-2, -1)) / (points - 1)
        return mean.flatten(), variance.sqrt().clamp(min=1e-12)

    def conditioning(self) -> Tensor:
        """Standardised static fields and the position as a unit vector on the sphere: (S + 3, H, W) float32.

        The unit vector (cos φ cos λ, cos φ sin λ, sin φ) has no seam at the date line and no singular pole; it is left out where
        `position` is false. A masked store adds `present` (C), as 0 and 1; missing static values then count as their field's
        mean. Time channels are added as (0, 0, sin λ, cos λ), which is what is known of them without a time.
        """
        assert self.static_mean is not None and self.static_std is not None
        lat, lon = (torch.deg2rad(torch.from_numpy(x.copy())) for x in self.grid.places)
        static = (self.static.double() - self.static_mean[:, None, None]) / self.static_std[:, None, None]
        channels = [static if self.present is None else static.nan_to_num(0.0)]
        if self.position:
            channels.append(
                torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin().expand(-1, lon.shape[-1])])
            )
        if self.present is not None:
            channels.append(self.present.double())
        if self.time_channels:
            longitude = lon.expand(self.shape)
            channels += [torch.zeros(2, *self.shape), torch.stack([longitude.sin(), longitude.cos()])]
        return torch.cat(channels).float()

    def to_dict(self) -> dict[str, object]:
        """Plain containers and tensors only: loads with `weights_only=True`."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["factor"] = list(self.factor)
        for key in ("high_transforms", "low_transforms"):
            out[key] = [t.to_dict() for t in out[key]]
        for key, value in out.pop("grid").to_dict().items():
            out[_GRID + key] = torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
        return out

    @classmethod
    def from_dict(cls, data: dict) -> FieldSpec:
        """What `to_dict` gave. Raises FdsrError for what an earlier or a newer version of fdsr wrote."""
        values = {k: v for k, v in data.items() if not k.startswith(_GRID)}
        grid: dict[str, Any] = {
            k.removeprefix(_GRID): v.numpy() if isinstance(v, Tensor) else v
            for k, v in data.items()
            if k.startswith(_GRID)
        }
        known = {f.name for f in fields(cls)}
        required = known - {f.name for f in fields(cls) if f.default is not MISSING}  # the others are not always there
        if not required <= set(values) | {"grid"} or not {"rows", "columns", "units"} <= set(grid):
            raise FdsrError("the model was saved by an earlier version of fdsr, whose grids lack units; train it anew")
        if unknown := sorted(set(values) - known):
            raise FdsrError(
                f"the model was saved by a newer version of fdsr: it has {', '.join(unknown)}, which this one ({__version__}) does "
                "not know; install that"
            )
        values["grid"] = Grid(**grid)
        values["factor"] = tuple(values["factor"])
        for key in ("high_transforms", "low_transforms"):
            values[key] = [make_transform(t) for t in values[key]]
        return cls(**values)

    def differences(self, other: FieldSpec) -> list[str]:
        """What makes a training on `self` unfit to go on with `other`, one short phrase each; empty if nothing does.

        For predictions and tests less has to agree, see `fdsr.data.place`.
        """
        different = []
        for name, label in (("high_channels", "variables"), ("low_channels", "coarse variables"), ("factor", "factor"),
                            ("interpolation", "interpolation"), ("static_channels", "static fields"),
                            ("high_transforms", "transforms"), ("time_channels", "data.time_channels"),
                            ("position", "data.position")):  # fmt: skip
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                different.append(f"{label} {mine} against {theirs}")
        if self.masked != other.masked:
            kinds = [("without", "with")[spec.masked] for spec in (self, other)]
            different.append(f"trained {kinds[0]} missing values, data {kinds[1]} them")
        different += self.grid.differences(other.grid)
        if not different:
            # not by the fingerprint: interpolation rounds differently on other processors, and that is no other store
            for name in ("high_mean", "high_std", "low_mean", "low_std", "residual_std"):
                scale = self.high_std if name.startswith("high") else self.low_std if name.startswith("low") else 1.0
                if not bool(((getattr(self, name) - getattr(other, name)).abs() <= 1e-3 * scale).all()):
                    prints = f"{self.fingerprint} against {other.fingerprint}"
                    different.append(f"{name} of the training block (fingerprint {prints}: other statistics or splits)")
                    break
        return different

    def require_same(self, other: FieldSpec, where: str) -> None:
        """Raise FdsrError naming what differs between a checkpoint (`self`) and a store (`other`)."""
        require_alike(self.differences(other), f"the store '{where}'", "use the store it was trained on")
