"""Drawing samples: ensembles of weather fields, and images, each with a noise of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fdsr.diffusion.losses.loss import everything
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Cut
from fdsr.modules.downscaling import LocalScaleName
from fdsr.modules.image_codec import ImageCodec
from fdsr.modules.network import NetworkModule
from fdsr.modules.seeding import generator
from fdsr.modules.targets import require_scale
from fdsr.modules.two_stages import measured, read_regression


class Targets(NamedTuple):
    """What a batch is trained on: x_0 (B, C, H, W), the condition, where x_0 is present (None: everywhere), what counts."""

    x_0: Tensor
    condition: Tensor
    present: Tensor | None = None
    counted: Cut = everything


class GenerativeModule(NetworkModule):
    """A method whose `sample` turns noise into x_0, for any number of samples at once.

    Args:
        members: ensemble size in tests and predictions.
        member_batch: members, or images, drawn at once in evaluation; bounds memory, does not change results.
        regression_ckpt: with target `regression` the first stage, a checkpoint or model folder of RegressionModule. It is read
            when training begins, and from then on stands in this method's own checkpoints.
        local_scale: what a residual is divided by besides its deviation: `none`; its `climatological` local scale, of the
            train block; or, with target `regression`, the deviation `predicted` by a first stage with GaussianLikelihood.
        stage_condition: whether the network is told what the first stage adds to interpolation, and its deviation where that
            is the local scale.
        kwargs: what NetworkModule takes.
    """

    meaning = (*NetworkModule.meaning, "local_scale", "stage_condition")

    def __init__(
        self,
        members: int = 8,
        member_batch: int = 4,
        regression_ckpt: str | None = None,
        local_scale: LocalScaleName = "none",
        stage_condition: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(members=members, **kwargs)
        self.local_scale, self.stage_condition = local_scale, stage_condition
        require_scale(local_scale, self.target)
        self.member_batch, self.regression_ckpt = member_batch, regression_ckpt
        if (regression_ckpt is not None) != (self.target == "regression"):
            given = regression_ckpt or "not given"
            mend = "leave it out" if regression_ckpt else "give model.regression_ckpt, a checkpoint of RegressionModule"
            raise FdsrError(f"model.target is '{self.target}' and model.regression_ckpt is {given}; {mend}")

    def on_fit_start(self) -> None:
        """Read the first stage and measure its residual over the train block, unless a checkpoint has brought it."""
        if self.regression_ckpt is not None and self.codec.stage is None:
            self._begin_from_regression(self.regression_ckpt)

    def _begin_from_regression(self, path: str) -> None:
        data, strategy = self._datamodule(), self.trainer.strategy
        self.begin_from(
            measured(
                read_regression(path, self.fields.spec, data.path or "data"),
                data.fields("train"),
                data.fields("val") if "val" in data.store.splits else None,
                device=self.device,
                place=(self.global_rank, self.trainer.world_size),
                reduce=lambda x: strategy.reduce(x, reduce_op="sum"),
                local_scale=self.local_scale,
                quiet=self.trainer.progress_bar_callback is None,
            )
        )

    def targets(self, batch: Batch) -> Targets:
        """Of a batch, what `codec` makes of it."""
        encoded = self.codec.encode(batch)
        x_0 = self.codec.to_target(self.codec.truth(batch), encoded)
        return Targets(x_0, encoded.condition, self.codec.present(batch), self.codec.counted(batch))

    @property
    def sample_evaluations(self) -> int:
        """Network evaluations that one call of `sample` costs."""
        raise NotImplementedError

    @property
    def evaluations_per_member(self) -> int:
        """Those of `sample`, and that of the first stage where there is one."""
        return self.sample_evaluations + (self.target == "regression")

    def sample(
        self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator], settle: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """x_0 (N, *shape) given `condition` (N, …), sample i with all its noise from rngs[i].

        `settle` is applied to every estimate of x_0, the last one included: what is known of it besides.
        """
        raise NotImplementedError

    @torch.no_grad()
    def generate(self, batch: Batch, members: int | Sequence[int] | None = None, seed: int | None = None) -> Tensor:
        """An ensemble (B, M, C, H, W) in physical units: the first `members`, or those with these numbers."""
        members, seed = members or self.members, self.seed if seed is None else seed
        numbers = range(members) if isinstance(members, int) else members
        fields = self.fields
        encoded = fields.encode_once(batch)
        places = [(i, int(batch["time"][i]), m) for i in range(len(batch["time"])) for m in numbers]
        samples, conservation = [], self.conserving(batch)
        for start in range(0, len(places), self.member_batch):
            chunk = places[start : start + self.member_batch]
            taken = torch.tensor([i for i, _, _ in chunk], device=encoded.base.device)
            known, low = encoded.take(taken), batch["low"][taken]
            rngs = [generator(encoded.base.device, seed, "member", time, m) for _, time, m in chunk]
            settle = fields.clip
            if conservation is not None and self.conserves == "steps":
                settle = partial(fields.conserved, known, partial(conservation, low=low))
            drawn = fields.from_target(self.sample(known.condition, known.base.shape[1:], rngs, settle), known)
            samples.append(drawn if conservation is None else conservation(drawn, low))
        return torch.cat(samples).unflatten(0, (-1, len(numbers)))

    @torch.no_grad()
    def sample_images(self, indices: Sequence[int], seed: int) -> Tensor:
        """Images (N, C, H, W) in [−1, 1], float32, of the published size; image i is seeded by (seed, indices[i]).

        The result does not depend on how many are drawn at once, nor in which process. Drawn with the network in
        evaluation mode, and in float32 unless the caller has autocast on.

        Raises FdsrError for a method that was trained on weather fields.
        """
        if not isinstance(self.codec, ImageCodec):
            raise FdsrError("this method was trained on weather fields; it draws ensembles, not images")
        training, images = self.training, []
        self.eval()
        try:
            for start in range(0, len(indices), self.member_batch):
                rngs = [generator(self.device, seed, "image", i) for i in indices[start : start + self.member_batch]]
                blank = self.codec.blank(len(rngs), self.device)
                x_0 = self.sample(blank.condition, blank.base.shape[1:], rngs, self.codec.clip)
                images.append(self.codec.from_target(x_0.float(), blank))
        finally:
            self.train(training)
        empty = torch.zeros(0, self.spec.channels, self.spec.height, self.spec.width, device=self.device)
        return torch.cat([empty, *images])
