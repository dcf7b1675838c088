"""DDPMModule: denoising diffusion with white noise, of weather fields or of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fdsr.diffusion import PARAMETRISATIONS, SAMPLERS, SCHEDULES, GaussianDiffusion, SimpleLoss, WhiteNoise
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.masking import neutral_output, points_over_present


def choose(table: dict[str, Any], name: str, what: str) -> Any:
    """table[name], or a FdsrError that lists the names."""
    if name not in table:
        raise FdsrError(f"{what} '{name}' is unknown; choose one of {', '.join(table)}")
    return table[name]


class DDPMModule(GenerativeModule):
    """Denoising diffusion (Ho et al. 2020) of the target, given the coarse field, static fields and position.

    On images there is no condition, and the sampler cuts every estimate of x_0 to [−1, 1], as the authors' own code does.

    Args beyond those of NetworkModule:
        schedule, timesteps: `vp`, `linear` or `cosine` over T steps.
        prediction: what the network predicts: `eps`, `x0` or `v` (Salimans & Ho 2022).
        sampler, steps, spacing: reverse process, its network evaluations and how they spread over T; see
            `fdsr.diffusion.samplers`.
        reverse_variance: `posterior` (β̃_t) or `beta` (β_t), for the ancestral sampler.
        draws: draws of noise a sample and step of training, each of which costs a network evaluation.
        regression_ckpt: with target `regression`, the checkpoint of RegressionModule over whose forecast the residual is.
        member_batch: members, or images, drawn at once in evaluation; bounds memory, does not change results.
    """

    def __init__(
        self,
        backbone: str = "unet",
        backbone_args: dict[str, Any] | None = None,
        schedule: str = "vp",
        timesteps: int = 1000,
        prediction: str = "v",
        sampler: str = "dpmsolver++",
        steps: int = 12,
        spacing: str = "uniform",
        reverse_variance: str = "posterior",
        draws: int = 1,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 100,
        final_lr_fraction: float = 0.02,
        target: str = "residual",
        regression_ckpt: str | None = None,
        members: int = 8,
        member_batch: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone, backbone_args, lr=lr, weight_decay=weight_decay, betas=betas, warmup_steps=warmup_steps,
            final_lr_fraction=final_lr_fraction, target=target, members=members, seed=seed,
        )  # fmt: skip
        self.take_regression(regression_ckpt)
        try:
            self.schedule = choose(SCHEDULES, schedule, "model.schedule")(timesteps)
        except ValueError as error:
            raise FdsrError(f"model: {error}") from error
        self.parametrisation = choose(PARAMETRISATIONS, prediction, "model.prediction")
        self.sampler = choose(SAMPLERS, sampler, "model.sampler")
        self.steps, self.spacing, self.reverse_variance = steps, spacing, reverse_variance
        self.draws, self.member_batch = draws, member_batch

    def input_channels(self, codec: Codec) -> int:
        return codec.channels

    def prepare(self, codec: Codec) -> None:
        self.process = GaussianDiffusion(self.schedule, self.make_noise(codec), self.reverse_variance)
        self.objective = self.make_objective(codec)

    def make_noise(self, codec: Codec) -> Any:
        """The diffusion's noise; white here."""
        return WhiteNoise()

    def make_objective(self, codec: Codec) -> Callable[..., Tensor]:
        """The loss, a callable of `fdsr.diffusion.losses`."""
        return SimpleLoss(self.draws)

    def predict(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Raw output of the network; `condition` is repeated where x_t stacks several noisy copies of the batch."""
        copies = x_t.shape[0] // condition.shape[0]
        if copies > 1:
            condition = condition.repeat(copies, 1, 1, 1)
        time = t * (1000.0 / self.process.T)
        return self.network(torch.cat([x_t, condition], dim=1), time, wrap=self.codec.wraps(x_t)).float()

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        encoded, present = self.codec.encode(batch), self.codec.present(batch)
        x_0 = self.codec.to_target(self.codec.truth(batch), encoded.base)
        # stratified over the batch (Kingma et al. 2021): every batch sees the whole range of t, which steadies the loss
        n = x_0.shape[0]
        u = (torch.rand(1, generator=rng, device=x_0.device) + torch.arange(n, device=x_0.device) / n) % 1.0
        t = (u * self.process.T).long().clamp(max=self.process.T - 1) + 1

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return self.predict(x_t, t, encoded.condition)

        loss = self.objective(
            neutral_output(predict, present, self.process, self.parametrisation),
            x_0,
            t,
            self.process,
            self.parametrisation,
            lambda: torch.randn(x_0.shape, generator=rng, device=x_0.device),
        )
        return loss * points_over_present(present)

    @property
    def evaluations_per_member(self) -> int:
        return self.steps

    def sample(self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator]) -> Tensor:
        def noise() -> Tensor:
            white = torch.stack([torch.randn(shape, generator=rng, device=condition.device) for rng in rngs])
            return self.process.noise.colour(white)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.codec.clip(self.parametrisation.to_x_0(self.process, self.predict(x_t, t, condition), x_t, t))

        try:
            return self.sampler(denoise, noise, self.process, self.steps, spacing=self.spacing)
        except ValueError as error:
            raise FdsrError(f"model: {error}") from error
