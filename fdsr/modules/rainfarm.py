"""RainFARM as a method: the stochastic downscaling of rain that its users would compare with, as pysteps has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsr.data.interpolate import HALO
from fdsr.data.serving.datasets import WeatherBatch
from fdsr.errors import FdsrError
from fdsr.modules.codec import Codec
from fdsr.modules.interpolation import UntrainedModule
from fdsr.modules.seeding import generator

Kernel = Literal["none", "gaussian", "uniform"]


class RainFARMModule(UntrainedModule):
    """Log-normal noise with a power law for spectrum, in each coarse cell of such a size that its mean is the coarse value.

    Rebora et al. (2006, doi:10.1175/JHM517.1), as in pysteps' `rainfarm.downscale`, which has to be installed. It is of amounts, the
    variables whose transform has the lower bound 0; others are interpolated. What falls below the threshold of a variable's
    transform is set to 0, which takes a little from the coarse means; `conserve` gives it back. Missing coarse values count as dry
    to their neighbours, and stay missing. Nothing to train.

    Args:
        alpha: slope of the noise's power in wavenumber; null: that of each coarse field, as pysteps estimates it.
        kernel: what smooths the edges of coarse cells: `none` keeps their means, `gaussian` and `uniform` do not.
        members: ensemble size in tests and predictions.
        kwargs: what DownscalingModule takes, but for a target.
    """

    def __init__(self, alpha: float | None = None, kernel: Kernel = "none", members: int = 8, **kwargs: Any) -> None:
        super().__init__(target="full", members=members, **kwargs)
        self.alpha, self.kernel = alpha, kernel

    def build(self, codec: Codec) -> None:
        spec = self.fields.spec
        self.downscale = load_downscale()
        if not any(self._amounts):
            raise FdsrError(
                f"RainFARM is of amounts, and {', '.join(spec.high_channels)} may be negative; prepare rain with a transform that has "
                "the lower bound 0 (--transform rain=zero_inflated,threshold=…)"
            )
        if spec.factor[0] != spec.factor[1]:
            raise FdsrError(
                f"RainFARM refines rows and columns alike, and the factor is {spec.factor[0]} × {spec.factor[1]}"
            )

    @property
    def _amounts(self) -> list[bool]:
        """Of each high channel whether it is refined from its coarse values."""
        spec = self.fields.spec
        bounds = [transform.lower for transform in spec.high_transforms]
        return [j >= 0 and lower == 0 for j, lower in zip(spec.base_index, bounds, strict=True)]

    @torch.no_grad()
    def generate(self, batch: WeatherBatch, members: int | Sequence[int], seed: int) -> Tensor:
        fields, spec = self.fields, self.fields.spec
        numbers = range(members) if isinstance(members, int) else members
        out = fields.restore(fields.encode(batch).base)[:, None].repeat(1, len(numbers), 1, 1, 1)
        coarse = batch["low"][..., HALO:-HALO, HALO:-HALO].cpu().double().numpy()
        for c in (c for c, amount in enumerate(self._amounts) if amount):
            threshold = getattr(spec.high_transforms[c], "threshold", 0.0)
            for i, time in enumerate(batch["time"].tolist()):
                for k, m in enumerate(numbers):
                    state = generator("cpu", seed, "member", int(time), m, c).initial_seed()
                    out[i, k, c] = torch.from_numpy(self._refine(coarse[i, spec.base_index[c]], threshold, state)).to(
                        out
                    )
        if (conservation := self.conserving(batch)) is None:
            return out
        return torch.stack([conservation(drawn, batch["low"]) for drawn in out.unbind(1)], dim=1)

    def _refine(self, coarse: NDArray, threshold: float, state: int) -> NDArray:
        """One member (H, W) of a coarse field (h, w)."""
        factor = self.fields.spec.factor[0]
        missing = np.isnan(coarse)
        amount = np.where(missing, 0.0, coarse).clip(min=0.0)
        if amount.any():
            kernel = None if self.kernel == "none" else self.kernel
            with drawing_from(state):
                try:
                    fine = self.downscale(amount, factor, alpha=self.alpha, threshold=threshold, kernel_type=kernel)
                except (TypeError, ValueError, np.linalg.LinAlgError) as error:  # too few wavenumbers to fit a line to
                    raise FdsrError(
                        f"RainFARM finds no spectral slope in a coarse field of {coarse.shape[0]} × {coarse.shape[1]} cells; give "
                        "model.alpha"
                    ) from error
        else:
            fine = np.zeros([factor * n for n in coarse.shape])
        return np.where(missing.repeat(factor, 0).repeat(factor, 1), np.nan, fine)


def load_downscale() -> Callable[..., NDArray]:
    """pysteps' function. Raises FdsrError where pysteps is not installed."""
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # it says where its configuration lies
            warnings.simplefilter("ignore")
            from pysteps.downscaling.rainfarm import downscale
    except ImportError as error:
        raise FdsrError(
            "RainFARM needs pysteps, which is compiled on installation: pip install 'fdsr[rainfarm]'"
        ) from error
    found: Callable[..., Any] = downscale
    return found


@contextmanager
def drawing_from(state: int) -> Iterator[None]:
    """NumPy's global generator, which pysteps draws from, seeded by `state` (below 2⁶⁴) and afterwards what it was before."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed([state % 2**32, state // 2**32])  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
