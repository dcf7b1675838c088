"""What a pair of grids and its train block are: the part of a store that a trained model must carry."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from fdsr.data.values import ValueTransform
from fdsr.errors import FdsrError
from fdsr.geometry import is_periodic_longitude


@dataclass
class FieldSpec:
    """Channels, grids, static fields and train-block statistics of a pair store.

    Shapes: C high channels, D low channels, S static channels, fine grid (H, W), coarse grid (h, w). Statistics are of
    *transformed* values; those of the residual (fine minus interpolated coarse) are in units of the channel's standard
    deviation. Saved in every checkpoint, so that a model can be used with the coarse fields alone.
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

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the fine grid."""
        return self.lat.numel(), self.lon.numel()

    @property
    def periodic(self) -> bool:
        """Whether a row of longitudes closes the circle."""
        return is_periodic_longitude(self.lon.numpy())

    @property
    def base_index(self) -> list[int]:
        """For each high channel the low channel of the same name, or −1."""
        return [self.low_channels.index(n) if n in self.low_channels else -1 for n in self.high_channels]

    def conditioning(self) -> Tensor:
        """Standardised static fields and the position as a unit vector on the sphere: (S + 3, H, W) float32.

        The unit vector (cos φ cos λ, cos φ sin λ, sin φ) has no seam at the date line and no singular pole.
        """
        lat, lon = torch.deg2rad(self.lat)[:, None], torch.deg2rad(self.lon)[None, :]
        position = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin().expand(-1, lon.shape[-1])])
        static = self.static.double()
        mean, std = static.mean((-2, -1), keepdim=True), static.std((-2, -1), keepdim=True).clamp(min=1e-12)
        return torch.cat([(static - mean) / std, position]).float()

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
            values[key] = [ValueTransform(**t) for t in values[key]]
        return cls(**values)

    def differences(self, other: FieldSpec) -> list[str]:
        """What makes a model trained on `self` unfit for `other`, one short phrase each; empty if nothing does."""
        found = []
        for name, label in (("high_channels", "variables"), ("low_channels", "coarse variables"), ("factor", "factor"),
                            ("interpolation", "interpolation"), ("static_channels", "static fields"),
                            ("high_transforms", "transforms")):  # fmt: skip
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                found.append(f"{label} {mine} against {theirs}")
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


def _axis(values: Tensor) -> str:
    v = values.numpy().astype(np.float64)
    return f"{v[0]:g}…{v[-1]:g} ({v.size})"
