"""Between physical fields and the standardised tensors that networks see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO, upsample, upsample_gaps
from fdsr.data.values import apply_forward, apply_inverse
from fdsr.diffusion import Spectrum, Transform
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec, Cut, Encoded
from fdsr.modules.first_stage import FirstStage, FrozenRegression
from fdsr.modules.masking import Inner, neutral
from fdsr.modules.targets import LOCAL_SCALES, TARGETS, require_scale


class FieldCodec(Codec):
    """Standardises fields by the train block and turns them into the target a network predicts, and back.

    With target `residual` x_0 = (field − interpolated coarse field) / residual deviation; with `field` (or `full`, the same)
    x_0 is the standardised field; with `regression` x_0 = (field − forecast of a trained regression) / deviation of that
    residual (Mardani et al. 2023), and the condition has C more channels: what the regression adds to interpolation, in
    deviations of the residual over interpolation. Each has unit mean square over the train block. Statistics are buffers
    outside the state dict: they travel in the checkpoint's FieldSpec, those of the regression in its FirstStage.

    A residual may be divided by a local scale as well: a `climatological` one, or the deviation `predicted` by the regression,
    whose logarithm then is in the condition, C more channels. Without `stage_condition` the regression adds none.

    Of rain, whose transform says which coarse cells are dry, a regression's residual is counted in the others alone, and x_0 is 0 in
    these: there a predicted deviation is next to nothing, and divided by it the regression's slightest error is not.

    Where a masked store has no value x_0 is 0, base and coarse channels are at the train block's mean, and the condition says
    so: C channels where any train step has a value, D where the coarse cell has one.
    """

    mean: Tensor
    std: Tensor
    low_mean: Tensor
    low_std: Tensor
    residual_std: Tensor
    target_scale: Tensor
    index: Tensor
    has_base: Tensor
    ever: Tensor | None

    def __init__(
        self,
        spec: FieldSpec,
        target: str = "residual",
        interpolation: str | None = None,
        stage: FirstStage | None = None,
        local_scale: str = "none",
        stage_condition: bool = True,
    ) -> None:
        super().__init__()
        require_scale(local_scale, target)
        self.spec, self.target, self.stage = spec, TARGETS[target], stage
        self.local_scale, self.stage_condition = LOCAL_SCALES[local_scale], stage_condition
        self.statistics = self.target.statistics(spec, stage, self.local_scale.climatological)
        self.channels = len(spec.high_channels)
        self.condition_channels = len(spec.low_channels) * (2 if spec.masked else 1) + spec.place_channels
        self.interpolation = interpolation or spec.interpolation
        self._encoded: tuple[Any, list[Tensor], Encoded] | None = None
        self.regression: FrozenRegression | None = None
        if stage is not None:
            self.regression = FrozenRegression(stage, self.condition_channels, self.channels)
        if self.target.two_stages and stage_condition:
            self.condition_channels += self.channels * (2 if self.local_scale.predicted else 1)
        column = {
            "mean": spec.high_mean,
            "std": spec.high_std,
            "low_mean": spec.low_mean,
            "low_std": spec.low_std,
            "residual_std": spec.residual_std,
        }
        for name, values in column.items():
            self.register_buffer(name, values.float()[:, None, None], persistent=False)
        self.register_buffer("target_scale", self.statistics.scale.float(), persistent=False)
        self.register_buffer("index", torch.tensor(spec.base_index).clamp(min=0), persistent=False)
        self.register_buffer("has_base", (torch.tensor(spec.base_index) >= 0)[:, None, None], persistent=False)

        self.register_buffer("ever", spec.present, persistent=False)

    def spectrum(self, transform: Transform) -> Spectrum:
        """The climatological power of the target, in `transform` as it fits this grid."""
        circle = self.spec.shape[1] if self.spec.periodic else None
        return Spectrum(transform.on_circle(circle), self.statistics.power.float())

    def wraps(self, x: Tensor) -> bool:
        """Whether the rows of x are whole circles of longitude."""
        return self.spec.periodic and x.shape[-1] == self.spec.shape[1]

    def encode(self, batch: Batch) -> Encoded:
        if self.statistics.missing:
            raise FdsrError(self.statistics.missing)
        interpolated = self._interpolate(batch)
        return self._refine(interpolated, batch) if self.target.two_stages else interpolated

    @torch.no_grad()
    def encode_once(self, batch: Batch) -> Encoded:
        """`encode` of whole fields, and not again while they stay the same: pieces of an ensemble are of one time."""
        if "rows" in batch:  # patches
            return self.encode(batch)
        given = [batch[name] for name in ("low", "conditioning")]
        device = given[0].device
        how = (self.tiler, device, torch.is_autocast_enabled(device.type))
        if self._encoded is None or self._encoded[0] != how or not all(map(_same, self._encoded[1], given)):
            self._encoded = how, given, self.encode(batch)
        return self._encoded[2]

    def _scale(self, batch: Batch) -> Tensor:
        """Of x_0, but for what is predicted: (B, C, H, W), or less where it does not depend on the place."""
        scale = self.target_scale
        if scale.shape[-1] == 1 or "rows" not in batch:
            return scale[None]
        return scale[:, batch["rows"][:, :, None], batch["columns"][:, None, :]].movedim(0, 1)

    def _refine(self, interpolated: Encoded, batch: Batch) -> Encoded:
        """The regression's forecast in place of the interpolated field."""
        if self.regression is None or self.stage is None:
            raise FdsrError(
                "the target is the residual over a regression, which is not known yet; train (fdsr fit) or load a checkpoint"
            )
        base, condition, scale = interpolated[:3]
        mean, deviation = self.regression(condition, self.wraps(condition), self.tiler)
        unit = self.residual_std if TARGETS[self.stage.target].over_base else 1.0
        forecast = base + mean * unit if TARGETS[self.stage.target].over_base else mean
        known = [(forecast - base) / self.residual_std]
        if self.local_scale.predicted:
            if deviation is None:
                raise FdsrError(
                    "model.local_scale 'predicted' needs a regression that predicts a deviation; train it with --model.likelihood "
                    "GaussianLikelihood"
                )
            scale = scale * deviation * unit
            known.append(deviation.log())
        idle = self.idle(batch) if any(hasattr(t, "threshold") for t in self.spec.high_transforms) else None
        return Encoded(
            forecast, torch.cat([condition, *known], dim=1) if self.stage_condition else condition, scale, idle
        )

    def _interpolate(self, batch: Batch) -> Encoded:
        low = apply_forward(self.spec.low_transforms, batch["low"])
        if self.spec.masked:
            return self._encode_gaps(low, batch)
        fine = upsample(low, self.spec.factor, self.interpolation)
        base = torch.where(self.has_base, (fine[:, self.index] - self.mean) / self.std, 0.0)
        condition = torch.cat([(fine - self.low_mean) / self.low_std, batch["conditioning"]], dim=1)
        return Encoded(base, condition, self._scale(batch))

    def _encode_gaps(self, low: Tensor, batch: Batch) -> Encoded:
        fine = upsample_gaps(low, self.spec.factor, self.interpolation)
        missing = fine.isnan()
        base = (fine[:, self.index] - self.mean) / self.std
        coarse = torch.where(missing, 0.0, (fine - self.low_mean) / self.low_std)
        condition = torch.cat([coarse, batch["conditioning"], (~missing).to(coarse.dtype)], dim=1)
        return Encoded(torch.where(self.has_base & ~base.isnan(), base, 0.0), condition, self._scale(batch))

    def present(self, batch: Batch) -> Tensor | None:
        return ~batch["high"].isnan() if self.spec.masked else None

    def counted(self, batch: Batch) -> Cut:
        if "inner_rows" in batch:
            return Inner(batch["inner_rows"], batch["inner_columns"])
        return super().counted(batch)

    def clip(self, x_0: Tensor) -> Tensor:
        """x_0 of whole fields, 0 at points that no train step has: as in training."""
        return neutral(x_0, self.ever)

    def conserved(self, encoded: Encoded, project: Callable[[Tensor], Tensor], x_0: Tensor) -> Tensor:
        """x_0 of the fields that `project` makes, in physical units, of those that x_0 stands for."""
        return self.clip(self.to_target(project(self.from_target(self.clip(x_0), encoded)), encoded))

    def truth(self, batch: Batch) -> Tensor:
        return batch["high"]

    def standardise(self, truth: Tensor) -> Tensor:
        """Fields in physical units (B, C, H, W), transformed and standardised by the train block."""
        return (apply_forward(self.spec.high_transforms, truth) - self.mean) / self.std

    def restore(self, x: Tensor) -> Tensor:
        """The inverse of `standardise`, lower bounds applied."""
        return apply_inverse(self.spec.high_transforms, x * self.std + self.mean)

    def idle(self, batch: Batch) -> Tensor:
        """Where the coarse field leaves nothing open, as in dry cells of rain: (B, C, H, W) bool."""
        low, factor = batch["low"][..., HALO:-HALO, HALO:-HALO], self.spec.factor
        cells = [
            transform.idle(low[:, j], factor)
            if j >= 0 and not self.spec.independent_low
            else torch.zeros_like(low[:, 0], dtype=torch.bool)
            for transform, j in zip(self.spec.high_transforms, self.spec.base_index, strict=True)
        ]
        return torch.stack(cells, dim=1).repeat_interleave(factor[0], -2).repeat_interleave(factor[1], -1)

    def to_target(self, truth: Tensor, encoded: Encoded) -> Tensor:
        """Fields in physical units (B, C, H, W) to x_0."""
        x = self.standardise(truth)
        x_0 = (x - encoded.base) / encoded.scale if self.target.over_base else x
        if encoded.idle is not None:
            x_0 = x_0.masked_fill(encoded.idle, 0.0)
        return torch.where(x_0.isnan(), 0.0, x_0) if self.spec.masked else x_0

    def from_target(self, x_0: Tensor, encoded: Encoded) -> Tensor:
        """x_0 (B, C, H, W) to fields in physical units, lower bounds applied."""
        return self.restore(encoded.base + x_0 * encoded.scale if self.target.over_base else x_0)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether a and b are equal, missing values included."""
    return a.shape == b.shape and torch.equal(a.nan_to_num(torch.inf), b.nan_to_num(torch.inf))


def known(fields: Tensor, present: Tensor | None) -> Tensor:
    """Members (m, C, H, W) in memory, missing where no training step had a value."""
    fields = fields.float().cpu()
    return fields if present is None else torch.where(present.cpu(), fields, torch.nan)
