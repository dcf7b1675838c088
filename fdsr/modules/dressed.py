"""Dressed baselines: a deterministic forecast plus Gaussian noise with the statistics of its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn import functional

from fdsr.data.choices import Interpolation, require_choice
from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.statistics import cosine_power, tile_size
from fdsr.data.place import cut, require_inside
from fdsr.data.serving.datasets import WeatherBatch
from fdsr.diffusion import ColouredNoise, RealFourier, Spectrum
from fdsr.errors import FdsrError
from fdsr.modules.codec import Codec
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.interpolation import InterpolationModule
from fdsr.modules.pretrained import load_module
from fdsr.modules.seeding import generator

EPOCHS = 2
ErrorsName = Literal["train", "val"]


class DressedModule(DownscalingModule):
    """Mean forecast + σ(place) · Gaussian noise with the error's spectrum: the ensemble anyone gets for free.

    `fit` runs over the whole fields of `errors` twice without gradients: the first epoch measures the local standard
    deviation σ of the mean's error (in standardised, transformed values), the second the power of error/σ. A generative
    model that does not beat this has learnt nothing about the small scales.

    Of rain, whose transform says which coarse cells are dry (`zero_inflated`), errors are counted, and noise is added, in the others
    alone: over dry regions errors would shrink with the size of these.

    Where the mean comes with a deviation of its own, of a regression with GaussianLikelihood, errors are counted in it: noise
    has that deviation times σ, which then only corrects it.

    Args:
        mean: checkpoint of a deterministic method (RegressionModule), or `bicubic`, `bilinear` or `nearest`.
        smoothing: side in points of the square over which the local variance is averaged (odd); null: over all places, so that the
            baseline serves other regions than that of its training.
        errors: the block of the data whose errors are counted. A network knows `train`, and where its fields are few it errs less there
            than on others; `val` it does not know, but needs enough fields for a deviation at every place.
        members: ensemble size in tests and predictions.
        kwargs: what DownscalingModule takes, but for a target.
    """

    local_std: Tensor
    power: Tensor

    def __init__(
        self,
        mean: str = "bicubic",
        smoothing: int | None = 5,
        errors: ErrorsName = "train",
        members: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(target="full", members=members, **kwargs)
        self.automatic_optimization = False
        self.smoothing = smoothing
        require_choice(errors, ErrorsName, "errors")
        self.whole_fields_of = errors
        self._training = ExitStack()  # what ends with the training under way
        # its own life cycle (grid, device) follows this module's; kept out of the module tree until it is built
        self.mean_module: DownscalingModule = (
            InterpolationModule(mean) if mean in get_args(Interpolation) else load_module(mean)  # type: ignore[arg-type]
        )
        if self.mean_module.ensemble_size != 1:
            raise FdsrError(
                f"model.mean '{mean}' holds a {type(self.mean_module).__name__}, which draws an ensemble; give a RegressionModule's "
                "checkpoint, or bicubic, bilinear or nearest"
            )
        self._spectrum: Spectrum | None = None  # of `power`, once that is measured

    def build(self, codec: Codec) -> None:
        spec = self.fields.spec
        if self.smoothing is not None and not (self.smoothing % 2 and 0 < self.smoothing <= min(spec.shape)):
            raise FdsrError(
                f"model.smoothing is {self.smoothing}; an odd number up to {min(spec.shape)}, the shorter axis, or null will do"
            )
        if not self.mean_module.attached:
            self.mean_module.attach(spec)
        else:
            self.mean_module.home.require_same(spec, "data")
        self.mean_module.requires_grad_(False)
        channels = len(spec.high_channels)
        self.register_buffer("local_std", torch.zeros(channels, *((1, 1) if self.smoothing is None else spec.shape)))
        self.register_buffer("power", torch.ones(channels, *tile_size(spec.shape)))
        self._reset()

    def move_to(self, spec: FieldSpec) -> None:
        if self.smoothing is not None:
            require_inside(self.home, self.local_std, spec.grid, "the local deviation of its mean's error")
        self.mean_module.move_to(spec)
        super().move_to(spec)

    def _reset(self) -> None:
        self._count = 0
        self._variance, self._values = (torch.zeros_like(self.local_std).double() for _ in range(2))
        self._power = torch.zeros_like(self.power).double()

    def configure_model(self) -> None:
        super().configure_model()
        if isinstance(self.trainer.strategy, DDPStrategy):
            # DistributedDataParallel refuses a module without anything to train; sums are reduced below
            self.trainer.strategy.configure_ddp = lambda: None  # type: ignore[method-assign]

    def on_train_start(self) -> None:
        self._reset()  # on the device that it is on now
        assert self.whole_fields_of is not None
        if self.trainer.max_epochs != EPOCHS:
            raise FdsrError(
                f"a dressed baseline counts its errors in {EPOCHS} epochs, of the deviation and of the spectrum; set trainer.max_epochs "
                f"to {EPOCHS}"
            )
        self._training.enter_context(self.at_split(self.whole_fields_of))
        if any(n < k for n, k in zip(self.spec.shape, self._tile, strict=True)):
            raise FdsrError(
                f"the {self.whole_fields_of} block's fields of {self.spec.shape} points are smaller than the tiles of {self._tile} that "
                "the spectrum of errors is measured on; set model.errors to train"
            )

    def on_train_end(self) -> None:
        self._training.close()

    @property
    def _tile(self) -> tuple[int, int]:
        """Points of the tiles that the power of errors is measured on, those of the training's fields."""
        return self.power.shape[-2], self.power.shape[-1]

    def _error(self, batch: WeatherBatch) -> Tensor:
        """Error of the mean forecast (B, C, H, W) in standardised, transformed values, and in its own deviation where it has
        one; NaN where there is no truth, and in dry coarse cells.
        """
        mean, deviation = self.mean_module.moments(batch)
        error = self.fields.standardise(batch["high"]) - self.fields.standardise(mean)
        error = error.masked_fill(self.fields.idle(batch), torch.nan)
        return error if deviation is None else error / deviation

    def training_step(self, batch: WeatherBatch, batch_idx: int) -> None:
        with torch.no_grad():
            error = self._error(batch)
        self._count += error.shape[0]
        if self.trainer.current_epoch == 0:
            self._variance += self._over_places(error.double().square().nansum(0))
            self._values += self._over_places((~error.isnan()).sum(0))
        else:
            for field in error / self.local_std:
                with np.errstate(invalid="ignore"):  # NaN where it rains nowhere
                    power = cosine_power(field.cpu().numpy(), self._tile)
                self._power += torch.from_numpy(power).nan_to_num(0.0).to(self._power)

    def on_train_epoch_end(self) -> None:
        count = self.trainer.strategy.reduce(torch.tensor(float(self._count), device=self.device), reduce_op="sum")
        if self.trainer.current_epoch == 0:
            total, values = (
                self._smooth(self.trainer.strategy.reduce(x, reduce_op="sum")) for x in (self._variance, self._values)
            )
            smooth = total / values.clamp(min=1e-9)
            # a cell without error would divide by zero; a thousandth of the mean is invisible
            self.local_std = smooth.clamp(min=1e-6 * float(smooth.mean())).sqrt().float()
        else:
            self.power = (self.trainer.strategy.reduce(self._power, reduce_op="sum") / count).float()
        self._spectrum = None
        self._reset()

    def _over_places(self, sums: Tensor) -> Tensor:
        """Sums (C, H, W), over all places (C, 1, 1) where there is no smoothing."""
        return sums if self.smoothing is not None else sums.sum((-2, -1), keepdim=True)

    def _smooth(self, x: Tensor) -> Tensor:
        """Means over squares of `smoothing` points, of x (C, H, W)."""
        if self.smoothing is None:
            return x
        side = self.smoothing // 2
        mode = "circular" if self.spec.periodic else "replicate"
        padded = functional.pad(functional.pad(x, (side, side, 0, 0), mode=mode), (0, 0, side, side), mode="replicate")
        return functional.avg_pool2d(padded, self.smoothing, stride=1)

    def configure_optimizers(self) -> None:
        return None

    @property
    def evaluations_per_member(self) -> int:
        return self.mean_module.evaluations_per_member

    def _unit_noise(self) -> Callable[[Tensor], Tensor]:
        """White fields to noise with the error's spectrum and exactly unit variance on this grid."""
        if self._spectrum is None:
            self._spectrum = Spectrum(RealFourier(), self.power)
        noise, spectrum = ColouredNoise(), self._spectrum
        scale = spectrum.power(self.spec.shape).mean((1, 2), keepdim=True).sqrt().to(self.device, torch.float32)
        return lambda white: noise.colour(white, spectrum) / scale

    @torch.no_grad()
    def generate(self, batch: WeatherBatch, members: int | Sequence[int], seed: int) -> Tensor:
        if not bool(self.local_std.any()):
            raise FdsrError("this dressed baseline has not been fitted; run 'fdsr fit' with its configuration first")
        fields, numbers = self.fields, range(members) if isinstance(members, int) else members
        noise = self._unit_noise()
        mean, deviation = self.mean_module.moments(batch)
        x = fields.standardise(mean)
        known = self.smoothing is None or self.spec is self.home
        local = self.local_std if known else cut(self.home, self.local_std, self.spec.grid)
        assert local is not None  # or `move_to` would have refused
        scale = (local.expand_as(x) if deviation is None else local * deviation).masked_fill(fields.idle(batch), 0.0)
        out, conservation = [], self.conserving(batch)
        for i, time in enumerate(batch["time"]):
            rngs = [generator(x.device, seed, "member", int(time), m) for m in numbers]
            white = torch.stack([torch.randn(x.shape[1:], generator=rng, device=x.device) for rng in rngs])
            drawn = fields.restore(x[i] + scale[i] * noise(white))
            low = batch["low"][i].expand(len(drawn), *batch["low"].shape[1:])
            out.append(drawn if conservation is None else conservation(drawn, low))
        return torch.stack(out)
