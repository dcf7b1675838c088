"""What a pair of grids and its train block are: the part of a store that a trained model must carry."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fdsr.data.values import Identity, ValueTransform, make_transform
from fdsr.errors import FdsrError
from fdsr.geometry import FloatArray, is_periodic_longitude, latitude_weights

STATISTICS = ("high_mean", "high_std", "low_mean", "low_std", "residual_std", "power_field", "power_residual")


@dataclass
class FieldSpec:
    """Channels, grids, static fields and train-block statistics of a pair store.

    Shapes: C high channels, D low channels, S static channels, fine grid (H, W), coarse grid (h, w). Statistics are of
    *transformed* values; those of the residual (fine minus interpolated coarse) are in units of the channel's standard
    deviation. Saved in every checkpoint, so that a model can be used with the coarse fields alone.

    On a projected grid `lat` and `lon` hold y and x in the projection's unit, `mapping` its CF attributes, and `latitude`,
    `longitude` the true places of the fine points; on a latitude-longitude grid these three are None.

    Where values may be missing (a *masked* store) `present` says which fine points any train step has.
    """

    high_channels: list[str]
    low_channels: list[str]
    attributes: dict[str, dict[str, str]]  # per variable: units, standard_name, long_name
    high_transforms: list[ValueTransform]
    low_transforms: list[ValueTransform]
    factor: tuple[int, int]
    interpolation: str
    lat: Tensor  # (H,) degrees, north first, float64
    lon: Tensor  # (W,)
    lat_low: Tensor  # (h,)
    lon_low: Tensor  # (w,)
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
    mapping: dict[str, object] | None = None
    latitude: Tensor | None = None  # (H, W) degrees
    longitude: Tensor | None = None  # (H, W)
    present: Tensor | None = None  # (C, H, W) bool; None: nothing is ever missing

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, attributes: dict) -> FieldSpec:
        """The specification of an opened pair store, from its variables and its root's attributes."""
        config = attributes["config"]
        transforms = {k: make_transform(v) for k, v in config["transforms"].items()}
        high, low, static = (
            [str(v) for v in ds[name].values] for name in ("high_channel", "low_channel", "static_channel")
        )
        projected = "crs" in ds.variables
        rows, columns = ("y", "x") if projected else ("lat", "lon")

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(ds[name].values.copy())

        return cls(
            high_channels=high,
            low_channels=low,
            attributes=attributes["variables"],
            high_transforms=[transforms.get(n, Identity()) for n in high],
            low_transforms=[transforms.get(n, Identity()) for n in low],
            factor=tuple(config["factor"]),
            interpolation=config["interpolation"],
            lat=tensor(rows),
            lon=tensor(columns),
            lat_low=tensor(f"{rows}_low"),
            lon_low=tensor(f"{columns}_low"),
            static_channels=static,
            static=tensor("static"),
            **{n: tensor(n) for n in STATISTICS},
            fingerprint=attributes["fingerprint"],
            mapping={str(k): _plain(v) for k, v in ds["crs"].attrs.items()} if projected else None,
            latitude=tensor("latitude") if projected else None,
            longitude=tensor("longitude") if projected else None,
            present=tensor("present").bool() if "present" in ds.variables else None,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the fine grid."""
        return self.lat.numel(), self.lon.numel()

    @property
    def periodic(self) -> bool:
        """Whether a row of longitudes closes the circle."""
        return not self.projected and is_periodic_longitude(self.lon.numpy())

    @property
    def projected(self) -> bool:
        """Whether the rows and columns are those of a map projection."""
        return self.mapping is not None

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
    def row_weights(self) -> FloatArray:
        """Areas of the cells of each row (H,), up to a factor: what coarsening weighs by."""
        rotated = self.mapping is not None and self.mapping.get("grid_mapping_name") == "rotated_latitude_longitude"
        if self.projected and not rotated:
            return np.ones(self.shape[0])
        return latitude_weights(self.lat.numpy())

    @property
    def base_index(self) -> list[int]:
        """For each high channel the low channel of the same name, or −1."""
        return [self.low_channels.index(n) if n in self.low_channels else -1 for n in self.high_channels]

    def conditioning(self) -> Tensor:
        """Standardised static fields and the position as a unit vector on the sphere: (S + 3, H, W) float32.

        The unit vector (cos φ cos λ, cos φ sin λ, sin φ) has no seam at the date line and no singular pole. A masked store
        adds `present`, as 0 and 1: (S + 3 + C, H, W); missing static values then count as their field's mean.
        """
        if self.latitude is not None and self.longitude is not None:
            lat, lon = torch.deg2rad(self.latitude), torch.deg2rad(self.longitude)
        else:
            lat, lon = torch.deg2rad(self.lat)[:, None], torch.deg2rad(self.lon)[None, :]
        position = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin().expand(-1, lon.shape[-1])])
        static = self.static.double()
        if self.present is None:
            mean = static.mean((-2, -1), keepdim=True)
            points = static.shape[-2] * static.shape[-1]
            # Tensor.std would warn where there are no static fields
            variance = (static - mean).square().sum((-2, -1), keepdim=True) / (points - 1)
            return torch.cat([(static - mean) / variance.sqrt().clamp(min=1e-12), position]).float()
        mean = static.nanmean((-2, -1), keepdim=True)
        std = (static - mean).square().nanmean((-2, -1), keepdim=True).sqrt().clamp(min=1e-12)
        return torch.cat([((static - mean) / std).nan_to_num(0.0), position, self.present.double()]).float()

    def to_dict(self) -> dict[str, object]:
        """Plain containers and tensors only: loads with `weights_only=True`."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["factor"] = list(self.factor)
        for key in ("high_transforms", "low_transforms"):
            out[key] = [t.to_dict() for t in out[key]]
        return out

    @classmethod
    def from_dict(cls, data: dict) -> FieldSpec:
        values = dict(data)
        values["factor"] = tuple(values["factor"])
        for key in ("high_transforms", "low_transforms"):
            values[key] = [make_transform(t) for t in values[key]]
        return cls(**values)

    def differences(self, other: FieldSpec) -> list[str]:
        """What makes a model trained on `self` unfit for `other`, one short phrase each; empty if nothing does."""
        found = []
        for name, label in (("mapping", "projection"), ("high_channels", "variables"), ("low_channels", "coarse variables"),
                            ("factor", "factor"),
                            ("interpolation", "interpolation"), ("static_channels", "static fields"),
                            ("high_transforms", "transforms")):  # fmt: skip
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{label} {mine} against {theirs}")
        if self.masked != other.masked:
            kinds = [("without", "with")[spec.masked] for spec in (self, other)]
            found.append(f"trained {kinds[0]} missing values, data {kinds[1]} them")
        for name, label in (("lat", "latitudes"), ("lon", "longitudes")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.shape != theirs.shape or not torch.allclose(mine, theirs, atol=1e-6):
                found.append(f"{label} {_axis(mine)} against {_axis(theirs)}")
        if not found:
            # not by the fingerprint: interpolation rounds differently on other processors, and that is no other store
            for name in ("high_mean", "high_std", "low_mean", "low_std", "residual_std"):
                scale = self.high_std if name.startswith("high") else self.low_std if name.startswith("low") else 1.0
                if not bool(((getattr(self, name) - getattr(other, name)).abs() <= 1e-3 * scale).all()):
                    prints = f"{self.fingerprint} against {other.fingerprint}"
                    found.append(f"{name} of the training block (fingerprint {prints}: other statistics or splits)")
                    break
        return found

    def require_same(self, other: FieldSpec, where: str) -> None:
        """Raise FdsrError naming what differs between a checkpoint (`self`) and a store (`other`)."""
        found = self.differences(other)
        if found:
            raise FdsrError(
                f"checkpoint does not match the store '{where}': {'; '.join(found)}; use the store it was trained on"
            )


def _plain(value: object) -> object:
    """An attribute as a number, string or list of numbers, which checkpoints may hold."""
    return np.asarray(value).tolist() if not isinstance(value, str) else value


def _axis(values: Tensor) -> str:
    v = values.numpy().astype(np.float64)
    return f"{v[0]:g}…{v[-1]:g} ({v.size})"
