"""Training of two networks against each other: a generator and a discriminator, each with its own optimiser."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from fdsr.backbones import build_discriminator
from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.generative import GenerativeModule, Targets
from fdsr.modules.judged import Judged
from fdsr.modules.network import check_settings


class AdversarialModule(GenerativeModule):
    """A generator `network` and a `discriminator`, both updated in every batch, each by Adam with its own rate.

    A step of the trainer is one update of the generator: the discriminator's is not counted. Logged besides the losses: how well the
    discriminator tells pairs apart at each t, see `Judged`.

    Args:
        discriminator: `half_unet`, `unet_encoder`, or the import path of a class of your own (see `fdsr.backbones`).
        discriminator_args: its settings.
        r1_gamma: γ of (γ/2) E‖∇_{x_{t−1}} V‖² on real pairs; 0 leaves it out. One γ is not equally strong for all divergences.
        r1_every: batches from one such penalty to the next; it is not multiplied by that interval.
        lr: the generator's rate.
        discriminator_lr: the discriminator's; both fall along the same cosine.
        betas: of Adam.
        warmup_steps: steps over which the rates rise.
        final_lr_fraction: what the rates have fallen to at the last step, as a fraction.
        gradient_clip: largest norm of either network's gradient, against rare spikes; null for none.
        kwargs: what GenerativeModule takes.
    """

    discriminator: nn.Module
    judged: Judged

    def __init__(
        self,
        discriminator: str = "half_unet",
        discriminator_args: dict[str, Any] | None = None,
        r1_gamma: float = 0.02,
        r1_every: int = 15,
        lr: float = 1.6e-4,
        discriminator_lr: float = 1.25e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        warmup_steps: int = 0,
        final_lr_fraction: float = 0.06,
        gradient_clip: float | None = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            lr=lr,
            weight_decay=0.0,  # Adam's here
            betas=betas,
            warmup_steps=warmup_steps,
            final_lr_fraction=final_lr_fraction,
            **kwargs,
        )
        self.automatic_optimization = False
        if r1_gamma < 0 or r1_every < 1:
            raise FdsrError("model: r1_gamma must not be negative, and r1_every at least 1")
        self.r1_gamma, self.r1_every, self.gradient_clip = r1_gamma, r1_every, gradient_clip
        require_at_least(0, "model.", discriminator_lr=discriminator_lr)
        self.discriminator_lr = discriminator_lr
        self.discriminator_name, self.discriminator_args = discriminator, dict(discriminator_args or {})
        self.check_networks()

    def check_networks(self) -> None:
        super().check_networks()
        if self.__dict__.get("discriminator_name"):  # not yet while the parent checks its own
            check_settings("discriminator", self.discriminator_name, self.discriminator_args)

    def build(self, codec: Codec) -> None:
        super().build(codec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            self.discriminator = build_discriminator(
                self.discriminator_name,
                in_channels=codec.channels + self.input_channels(codec) + codec.condition_channels,
                **self.discriminator_args,
            )

    def setup(self, stage: str) -> None:
        # each of the two backward passes reaches one network only, which DDP must be told to expect
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.trainer.precision == "16-mixed":
            raise FdsrError(
                "a GAN's two losses share no scale in 16-mixed; use --trainer.precision bf16-mixed or 32-true"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        rng = self.step_noise()
        targets = self.targets(batch)
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]

        with self.toggled_optimizer(discriminator_optimizer):
            due = self.r1_gamma > 0 and self.trainer.fit_loop.total_batch_idx % self.r1_every == 0
            d_loss, penalty, facts = self.discriminator_loss(targets, rng, due)
            # not through Lightning's wrapper, which would count it: a step is one update of the generator
            self._update(discriminator_optimizer.optimizer, d_loss + penalty)
        # autocast may still hold copies of the discriminator's weights of before the update
        torch.clear_autocast_cache()
        with self.toggled_optimizer(generator_optimizer):
            g_loss = self.generator_loss(targets, rng)
            self._update(generator_optimizer, g_loss)
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()

        facts = {"d_loss": d_loss.detach(), "g_loss": g_loss.detach(), **facts}
        self.log_dict(facts, prog_bar=True, batch_size=len(batch["index"]))
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.fit_loop.total_batch_idx + 1) % every == 0:
            self.log_dict(self.judged.collect(self.trainer.strategy), batch_size=1)
        return facts

    def discriminator_loss(
        self, targets: Targets, rng: torch.Generator, penalised: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(critic's loss, its penalties, how it judges), with R1 among the penalties if `penalised`."""
        raise NotImplementedError

    def generator_loss(self, targets: Targets, rng: torch.Generator) -> Tensor:
        """The generator's loss, a scalar."""
        raise NotImplementedError

    def _update(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        return [
            {"optimizer": optimizer, "lr_scheduler": self.decay(optimizer)}
            for optimizer in (
                torch.optim.Adam(self.network.parameters(), lr=self.lr, betas=self.betas, fused=True),
                torch.optim.Adam(
                    self.discriminator.parameters(), lr=self.discriminator_lr, betas=self.betas, fused=True
                ),
            )
        ]
