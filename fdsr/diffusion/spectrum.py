"""What a diffusion may know of its data: the basis f, and the climatological power Λ of the target in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from fdsr.diffusion.power import interpolate_power, normalise_power
from fdsr.diffusion.transforms import RealFourier, Transform

FLOOR = 1e-4  # of the mean power: what a coefficient has at least, wherever power is divided by


class Spectrum:
    """The basis f of noise, weights and losses, and the power Λ of the normalised target.

    transform: f; the real Fourier transform by default.
    power: (C, Ky, Kx), mean square orthonormal coefficient of the normalised target at the wavenumbers
        k_y = i/(2 Ky), k_x = j/(2 Kx) cycles per point: what a DCT-II of tiles of Ky × Kx points gives. None: not known.

    Λ is a density in wavenumber. A coefficient of an orthonormal transform of a stationary field has the mean square
    S(k), whatever the size of the field; so a field of any (H, W), and any transform, reads its Λ off the same
    function, by log-bilinear interpolation, and a patch and a whole field see the same process. For this reason Λ is
    scaled to mean 1 on the *stored* grid only. Rescaling it for each size would give one wavenumber a different noise
    level in each size, and a network trained on patches would be wrong on whole fields. The mean over another grid is
    therefore only near 1: the less of the power lies in the lowest stored wavenumbers, the nearer.

    variance: (C,), what a target that is not normalised has in place of 1: `power` is then that of the target over its root.
    mean: (C, H, W), what the target's power is about where that is not 0; such a target has one size.

    Raises ValueError for bad power (see `normalise_power`).
    """

    def __init__(
        self,
        transform: Transform | None = None,
        power: Tensor | None = None,
        variance: Tensor | None = None,
        mean: Tensor | None = None,
    ) -> None:
        self.variance, self.mean = variance, mean
        self.transform = RealFourier() if transform is None else transform
        self._power = None if power is None else power.detach().cpu().double()
        self._remembered: dict[Hashable, Tensor] = {}
        if self._power is not None:
            normalise_power(self._power, FLOOR)  # refuse bad power now, not at the first batch

    @property
    def known(self) -> bool:
        """Whether there is a power."""
        return self._power is not None

    def stored(self, floor: float = FLOOR) -> Tensor:
        """Λ on its own grid (C, Ky, Kx), raised to `floor` times its mean, mean 1; float64. ValueError if not known."""
        if self._power is None:
            raise ValueError(
                "these data carry no climatological spectrum; coloured noise, inverse amplitudes and spectral "
                "preconditioning need one: weather fields have it, images where data.spectrum is true"
            )
        return normalise_power(self._power, floor)

    def power(self, shape: tuple[int, int], floor: float = FLOOR) -> Tensor:
        """Λ at each coefficient of an (H, W) field: float64 (C, H, W) on the CPU."""
        return interpolate_power(self.stored(floor), self.transform, shape)

    def prior(self, shape: tuple[int, int]) -> Tensor:
        """Variance of each coefficient of the target on an (H, W) field: Λ, times `variance`; float64 (C, H, W) on the CPU."""
        power = self.power(shape)
        return power if self.variance is None else power * self.variance.cpu().double()[:, None, None]

    def remember(self, key: Hashable, like: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """make() on the device of `like` and in its precision (float32 for half), computed once for `key`."""
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        place = (key, like.device, dtype)
        if place not in self._remembered:
            with torch.inference_mode(False), torch.no_grad():  # see the note on caches in axes.py
                self._remembered[place] = make().to(like.device, dtype)
        return self._remembered[place]
