"""Orthonormal real transforms of fields: f of Fourier diffusion, with f⁻¹ = fᵀ and f(ε) ~ N(0, I) for ε ~ N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.diffusion.axes import AxisTransform, CircleAxis, CosineAxis, FourierAxis, HaarAxis


class Transform:
    """X ↦ F_lat X F_lonᵀ on the last two axes of (..., H, W), any H, W >= 1.

    float32 and float64 keep their dtype; half precision is computed and returned in float32. Differentiable any
    number of times. Two transforms of the same bases are equal.
    """

    def __init__(self, lat_axis: AxisTransform, lon_axis: AxisTransform) -> None:
        self.lat_axis = lat_axis
        self.lon_axis = lon_axis

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients of fields x (..., H, W), the same shape. Raises ValueError for < 2 axes or integers."""
        x = _as_field(x)
        rows = self.lon_axis.forward(x)
        return self.lat_axis.forward(rows.mT).mT

    def inverse(self, c: Tensor) -> Tensor:
        """Fields of coefficients c (..., H, W), the same shape; forward(inverse(c)) = c. Raises as `forward`."""
        c = _as_field(c)
        columns = self.lat_axis.inverse(c.mT).mT
        return self.lon_axis.inverse(columns)

    def axis_wavenumbers(
        self, shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """(k_y (H,), k_x (W,)) of the coefficients of an (H, W) field, float64, in cycles per unit of `spacing`.

        spacing: (dy, dx), the distance of neighbouring points; the domain is H·dy by W·dx.
        Raises ValueError unless both lengths and both spacings are positive.
        """
        if min(shape) < 1 or min(spacing) <= 0:
            raise ValueError(f"shape and spacing must be positive, not {tuple(shape)} and {tuple(spacing)}")
        height, width = shape
        return self.lat_axis.wavenumbers(height) / spacing[0], self.lon_axis.wavenumbers(width) / spacing[1]

    def wavenumber(self, shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Isotropic wavenumber k = √(k_y² + k_x²) of each coefficient, float64 (H, W); see `axis_wavenumbers`."""
        ky, kx = self.axis_wavenumbers(shape, spacing)
        return torch.hypot(ky[:, None], kx[None, :])

    def on_circle(self, points: int | None) -> Transform:
        """This transform for a grid whose rows of `points` go once round a circle; None: no row does."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transform) and (self.lat_axis, self.lon_axis) == (other.lat_axis, other.lon_axis)

    def __hash__(self) -> int:
        return hash((self.lat_axis, self.lon_axis))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lat={self.lat_axis}, lon={self.lon_axis})"


class RealFourier(Transform):
    """The orthonormal real Fourier transform: a rescaled re/im interleave of `rfft`; see `FourierAxis`.

    Takes the field as periodic along both axes: fit for a full circle of longitude.

    >>> RealFourier().forward(torch.ones(4, 4)).square()[0, :2]  # the energy 16 of a constant field is in DC
    tensor([16.,  0.])
    """

    def __init__(self) -> None:
        super().__init__(FourierAxis(), FourierAxis())


class Cosine(Transform):
    """DCT-II along both axes: no periodicity assumed, fit for latitude, regions and patches; see `CosineAxis`."""

    def __init__(self) -> None:
        super().__init__(CosineAxis(), CosineAxis())


class Haar(Transform):
    """Haar wavelets along both axes: coefficients local in space and in octave; see `HaarAxis`."""

    def __init__(self) -> None:
        super().__init__(HaarAxis(), HaarAxis())


class Product(Transform):
    """One transform along latitude, another along longitude, as in Product(lat=Cosine(), lon=RealFourier()).

    Args:
        lat: its basis is that along axis −2.
        lon: its basis is that along axis −1.
    """

    def __init__(self, lat: Transform, lon: Transform) -> None:
        super().__init__(lat.lat_axis, lon.lon_axis)
        self.lat, self.lon = lat, lon

    def on_circle(self, points: int | None) -> Transform:
        return Product(self.lat.on_circle(points), self.lon.on_circle(points))


class Globe(Transform):
    """DCT-II along latitude; along longitude Fourier where a row is a whole circle of `points`, DCT-II where it is not.

    The product for latitude-longitude fields: periodic only where the grid is. A patch of a global grid, and the whole
    field, thus each get a basis that fits their edges, and with `ColouredNoise` the same process.

    Args:
        points: of a whole circle; null: as the grid that it meets has, or DCT-II where that has none.
    """

    def __init__(self, points: int | None = None) -> None:
        super().__init__(CosineAxis(), CosineAxis() if points is None else CircleAxis(points))
        self.points = points

    def on_circle(self, points: int | None) -> Transform:
        return Globe(points) if self.points is None else self


def _as_field(x: Tensor) -> Tensor:
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"a transform acts on real fields (..., H, W), not on {x.dtype} of shape {tuple(x.shape)}")
    return x if x.dtype == torch.float64 else x.float()
