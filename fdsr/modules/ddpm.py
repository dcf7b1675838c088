"""DDPMModule: denoising diffusion of weather fields or of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from fdsr.diffusion import (
    PARAMETRISATIONS,
    REVERSE_VARIANCES,
    SCHEDULES,
    Denoising,
    DPMSolverPP,
    GaussianDiffusion,
    Loss,
    Noise,
    NoPreconditioning,
    Preconditioning,
    RealFourier,
    Sampler,
    SimpleLoss,
    StratifiedTimes,
    TimeSampling,
    Transform,
    WhiteNoise,
)
from fdsr.diffusion.losses.loss import Predictor
from fdsr.errors import FdsrError, choose
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.masking import cut, neutral_output, points_over_present
from fdsr.modules.settings import require_instances

PredictionName = Literal["eps", "x0", "v"]
ScheduleName = Literal["vp", "linear", "cosine"]
VarianceName = Literal["posterior", "beta"]
VALIDATION_TIMES = 8  # of a field in validation: its loss varies a thousandfold with t
# a sampler starts from pure noise: what is left of the signal at t = T should be invisible in it
MAX_TERMINAL_SNR = 0.01


class DDPMModule(GenerativeModule):
    """Denoising diffusion (Ho et al. 2020) of the target, given the coarse field, static fields and position.

    Noise, preconditioning, loss and sampler are settings of their own, each a class with its own arguments; what the
    combinations can and cannot change is told in `fdsr/diffusion/README.md`. On images there is no condition, and the sampler
    cuts every estimate of x_0 to [−1, 1], as the authors' own code does.

    Args:
        noise: covariance of the process's noise.
        precondition: what of the denoiser's work the network is spared.
        loss: what is minimised.
        transform: the basis f of noise, preconditioning and loss.
        schedule: noise levels.
        timesteps: T, the number of them.
        times: which of them a batch is trained at.
        prediction: what the network predicts: the noise, the clean field, or v (Salimans & Ho 2022).
        sampler: the reverse process, its network evaluations and how they spread over T. One that is named on the command line
            keeps the steps and the spacing of the file's.
        reverse_variance: `posterior` (β̃_t) or `beta` (β_t), for the ancestral sampler.
        kwargs: what GenerativeModule takes.
    """

    meaning = (*GenerativeModule.meaning, "noise", "precondition", "transform", "schedule", "prediction")

    def __init__(
        self,
        noise: Noise = WhiteNoise(),
        precondition: Preconditioning = NoPreconditioning(),
        loss: Loss = SimpleLoss(),
        transform: Transform = RealFourier(),
        schedule: ScheduleName = "vp",
        timesteps: int = 1000,
        times: TimeSampling = StratifiedTimes(),
        prediction: PredictionName = "v",
        sampler: Sampler = DPMSolverPP(),
        reverse_variance: VarianceName = "posterior",
        **kwargs: Any,
    ) -> None:
        require_instances(
            {
                "noise": (noise, Noise),
                "precondition": (precondition, Preconditioning),
                "loss": (loss, Loss),
                "transform": (transform, Transform),
                "times": (times, TimeSampling),
                "sampler": (sampler, Sampler),
            }
        )
        super().__init__(**kwargs)
        self.noise, self.precondition, self.objective, self.transform = noise, precondition, loss, transform
        self.times, self.sampler, self.reverse_variance = times, sampler, reverse_variance
        choose(REVERSE_VARIANCES, reverse_variance, "model.reverse_variance")
        self.parametrisation = choose(PARAMETRISATIONS, prediction, "model.prediction")
        try:
            self.schedule = choose(SCHEDULES, schedule, "model.schedule")(timesteps)
            sampler.times(self.schedule)
        except ValueError as error:
            raise FdsrError(f"model: {error}") from error

    def input_channels(self, codec: Codec) -> int:
        return codec.channels

    def prepare(self, codec: Codec) -> None:
        spectrum = codec.spectrum(self.transform)
        self.process = GaussianDiffusion(self.schedule, self.noise, spectrum, self.reverse_variance)
        # settings that ask for more than is known of these data are refused here, not at the first batch
        shape = (16, 16) if spectrum.mean is None else spectrum.mean.shape[-2:]
        x_0, t = torch.zeros(1, codec.channels, *shape), torch.ones(1, dtype=torch.long)
        predict = self.precondition.wrap(lambda x_t, t: torch.zeros_like(x_t), self.process, self.parametrisation)
        self.objective(Denoising(predict, x_0, t, self.process, self.parametrisation, lambda: torch.zeros_like(x_0)))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        warn_of_signal(self.process)

    def predictor(self, condition: Tensor) -> Predictor:
        """(x_t, t) → the prediction given `condition`, which is repeated where x_t stacks several noisy copies of a batch."""

        def network(x_t: Tensor, t: Tensor) -> Tensor:
            copies = x_t.shape[0] // condition.shape[0]
            c = condition.repeat(copies, 1, 1, 1) if copies > 1 else condition
            x = torch.cat([x_t, c], dim=1)
            return self.evaluate(x, self.process.network_time(t))

        return self.precondition.wrap(network, self.process, self.parametrisation)

    def task(self, batch: Batch, rng: torch.Generator) -> tuple[Denoising, Tensor | float]:
        """A batch to denoise, with times and noise from `rng`, and what turns a mean over all its points into one over those present."""
        x_0, condition, present, counted = self.targets(batch)
        predict = neutral_output(self.predictor(condition), present, self.process, self.parametrisation)
        task = Denoising(
            lambda x_t, t: counted(predict(x_t, t)),
            x_0,
            self.times.draw(len(x_0), self.schedule, rng),
            self.process,
            self.parametrisation,
            lambda: torch.randn(x_0.shape, generator=rng, device=x_0.device),
            counted,
        )
        return task, points_over_present(cut(counted, present))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        task, weight = self.task(batch, rng)
        return self.objective(task) * weight

    def validation_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The mean loss over a fixed grid of times, at each of which every sample is noised: whatever times training prefers."""
        task, weight = self.task(batch, rng)
        times = torch.arange(0.5, VALIDATION_TIMES) / VALIDATION_TIMES * self.schedule.T
        losses = [self.objective(replace(task, t=torch.full_like(task.t, 1 + int(t)))) for t in times]
        return torch.stack(losses).mean() * weight

    @property
    def sample_evaluations(self) -> int:
        return self.sampler.evaluations(self.schedule)

    def sample(
        self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator], settle: Callable[[Tensor], Tensor]
    ) -> Tensor:
        predict = self.predictor(condition)

        def noise() -> Tensor:
            return self.process.colour(
                torch.stack([torch.randn(shape, generator=rng, device=condition.device) for rng in rngs])
            )

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return settle(self.parametrisation.to_x_0(self.process, predict(x_t, t), x_t, t))

        return self.sampler(denoise, noise, self.process)


def warn_of_signal(process: GaussianDiffusion) -> None:
    """One line where the data's strongest coefficient does not drown in the noise at t = T; none where no power is known."""
    if process.spectrum.known and (ratio := process.terminal_snr()) > MAX_TERMINAL_SNR:
        warnings.warn(
            f"at t = T the strongest coefficient of these data still has a signal-to-noise ratio of {ratio:.2g} (more than "
            f"{MAX_TERMINAL_SNR}): samples will miss its variance; use target residual, or coloured noise",
            stacklevel=2,
        )
