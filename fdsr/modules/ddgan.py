"""DDGANModule: denoising diffusion GAN, a few large steps of diffusion each drawn by a conditional GAN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from fdsr.backbones import build_discriminator
from fdsr.diffusion import (
    DIVERGENCES,
    Ancestral,
    Divergence,
    GaussianDiffusion,
    Pair,
    RealFourier,
    SignalTimes,
    TimeSampling,
    fake_pair,
    r1_penalty,
    real_pair,
    vp_schedule,
)
from fdsr.diffusion.losses import everything
from fdsr.errors import FdsrError
from fdsr.modules.codec import Batch, Codec, Cut
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.judged import Judged
from fdsr.modules.masking import mean_present, neutral
from fdsr.modules.network import check_settings
from fdsr.modules.seeding import generator
from fdsr.modules.settings import choose
from fdsr.modules.terminal_noise import warn_of_signal

DivergenceName = Literal["gan", "hellinger", "reverse_kl", "total_variation", "kl", "pearson_chi2", "jensen_shannon"]


class DDGANModule(GenerativeModule):
    """Denoising diffusion GAN (Xiao et al. 2022), of images or, given the coarse field, of weather fields.

    The generator `network` predicts x̂_0 from (x_t, t, z) and the condition, x̂_{t−1} is drawn from the exact posterior
    q(· | x_t, x̂_0), and the discriminator scores pairs (x_{t−1}, x_t) at t. Real pairs are one further step of noise
    apart. At T = 1 this is a plain conditional GAN. The losses are those of an f-divergence between the true pairs and
    the generator's, with R1 on the real ones and a pull of V towards 0: see fdsr/diffusion/README.md.

    Both networks are updated in every batch, each by Adam with its own rate. A step of the trainer is one update of the
    generator: the discriminator's is not counted. Losses are computed in float32; where e^V occurs V is bounded softly
    (see `fdsr.diffusion.divergences`). Logged besides the losses: how well the discriminator tells pairs apart at each t,
    see `Judged`.

    Args:
        discriminator: `half_unet`, or the import path of a class of your own (see `fdsr.backbones`).
        discriminator_args: its settings.
        divergence: D_f between the true pairs and the generator's.
        saturating: generator's loss −E[f*(g(V))] (true) or −E[g(V)] (false); null takes the divergence's default.
        timesteps: T of the VP schedule; also the network evaluations that a sample costs.
        times: which of them a batch is trained at.
        latent_dim: length of z, drawn anew at every step of the sampler; 0 leaves the noise in x_t as the only one.
        r1_gamma: γ of (γ/2) E‖∇_{x_{t−1}} V‖² on real pairs; 0 leaves it out. One γ is not equally strong for all divergences.
        r1_every: batches from one such penalty to the next; it is not multiplied by that interval.
        drift: ε of ε E[V²] over all pairs in every batch, which brings V back from where a divergence is flat.
        lr: the generator's rate.
        discriminator_lr: the discriminator's; both fall along the same cosine.
        betas: of Adam.
        warmup_steps: steps over which the rates rise.
        final_lr_fraction: what the rates have fallen to at the last step, as a fraction.
        gradient_clip: largest norm of either network's gradient, against rare spikes; null for none.
        kwargs: what GenerativeModule takes.
    """

    discriminator: nn.Module

    def __init__(
        self,
        discriminator: str = "half_unet",
        discriminator_args: dict[str, Any] | None = None,
        divergence: DivergenceName | Divergence = "gan",
        saturating: bool | None = None,
        timesteps: int = 4,
        times: TimeSampling = SignalTimes(),
        latent_dim: int = 100,
        r1_gamma: float = 0.02,
        r1_every: int = 15,
        drift: float = 1e-3,
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
        if min(r1_gamma, drift, latent_dim) < 0 or r1_every < 1:
            raise FdsrError("model: r1_gamma, drift and latent_dim must not be negative, and r1_every at least 1")
        try:
            self.schedule = vp_schedule(timesteps)
        except ValueError as error:
            raise FdsrError(f"model: {error}") from error
        self.divergence: Divergence = (
            divergence if isinstance(divergence, Divergence) else choose(DIVERGENCES, divergence, "model.divergence")
        )
        self.judged = Judged(self.divergence, timesteps)
        self.saturating, self.times = saturating, times
        self.r1_gamma, self.r1_every, self.drift, self.gradient_clip = r1_gamma, r1_every, drift, gradient_clip
        self.discriminator_lr, self.latent_dim = discriminator_lr, latent_dim
        self.discriminator_name, self.discriminator_args = discriminator, dict(discriminator_args or {})
        if latent_dim:
            self.backbone_args["latent_dim"] = latent_dim
        self.check_networks()

    # -- networks --------------------------------------------------------------------------------------------------

    def check_networks(self) -> None:
        super().check_networks()
        if self.__dict__.get("discriminator_name"):  # not yet while the parent checks its own
            check_settings("discriminator", self.discriminator_name, self.discriminator_args)

    def input_channels(self, codec: Codec) -> int:
        return codec.channels

    def prepare(self, codec: Codec) -> None:
        self.process = GaussianDiffusion(self.schedule, spectrum=codec.spectrum(RealFourier()))

    def build(self, codec: Codec) -> None:
        super().build(codec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            self.discriminator = build_discriminator(
                self.discriminator_name,
                in_channels=2 * codec.channels + codec.condition_channels,
                **self.discriminator_args,
            )

    def predict(self, x_t: Tensor, t: Tensor, z: Tensor | None, condition: Tensor) -> Tensor:
        """The generator's x̂_0 (B, C, H, W) in float32."""
        latent = {} if z is None else {"z": z}
        x = torch.cat([x_t, condition], dim=1)
        output = self.network(x, self.process.network_time(t), wrap=self.codec.wraps(x_t), **latent)
        return self.codec.squash(output.float())

    def judge(self, pair: Pair, t: Tensor, condition: Tensor, counted: Cut = everything) -> Tensor:
        """The discriminator's V (B,) of pairs where they count, in float32."""
        x = counted(torch.cat([pair.before, pair.after, condition], dim=1))
        return self.discriminator(x, self.process.network_time(t), wrap=self.codec.wraps(x)).float()

    # -- training --------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        # each of the two backward passes reaches one network only, which DDP must be told to expect
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def on_fit_start(self) -> None:
        super().on_fit_start()
        warn_of_signal(self.process)
        if self.trainer.precision == "16-mixed":
            raise FdsrError(
                "a GAN's two losses share no scale in 16-mixed; use --trainer.precision bf16-mixed or 32-true"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        rng = self.step_noise()
        (x_0, condition, present), counted = self.targets(batch), self.codec.counted(batch)
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]

        with self.toggled_optimizer(discriminator_optimizer):
            due = self.r1_gamma > 0 and self.trainer.fit_loop.total_batch_idx % self.r1_every == 0
            d_loss, penalty, facts = self.discriminator_loss(
                x_0, condition, rng, penalised=due, present=present, counted=counted
            )
            # not through Lightning's wrapper, which would count it: a step is one update of the generator
            self._update(discriminator_optimizer.optimizer, d_loss + penalty)
        # autocast may still hold copies of the discriminator's weights of before the update
        torch.clear_autocast_cache()
        with self.toggled_optimizer(generator_optimizer):
            g_loss = self.generator_loss(x_0, condition, rng, present, counted)
            self._update(generator_optimizer, g_loss)
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()

        facts = {"d_loss": d_loss.detach(), "g_loss": g_loss.detach(), **facts}
        self.log_dict(facts, prog_bar=True, batch_size=len(batch["index"]))
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.fit_loop.total_batch_idx + 1) % every == 0:
            self.log_dict(self.judged.collect(self.trainer.strategy), batch_size=1)
        return facts

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """(x_0, condition, where x_0 is present) of a batch."""
        encoded = self.codec.encode(batch)
        x_0 = self.codec.to_target(self.codec.truth(batch), encoded)
        return x_0, encoded.condition, self.codec.present(batch)

    def discriminator_loss(
        self,
        x_0: Tensor,
        condition: Tensor,
        rng: torch.Generator,
        penalised: bool,
        present: Tensor | None = None,
        counted: Cut = everything,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(critic's loss, its penalties, how it judges); no graph through the generator. Real and fake share their gaps."""
        t, noise = self.times.draw(len(x_0), self.schedule, rng), lambda: self._noise(x_0, rng)
        real = real_pair(self.process, x_0, t, noise(), noise())
        with torch.no_grad():
            prediction = self.predict(real.after, t, self._latent(x_0, rng), condition)
            fake = fake_pair(self.process, neutral(prediction, present), real.after, t, noise())
        real.before.requires_grad_(penalised)
        with _twice_differentiable(self.device) if penalised else nullcontext():
            v_real = self.judge(real, t, condition, counted)
        v_fake = self.judge(fake, t, condition, counted)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.divergence.critic_loss(v_real, v_fake)
            penalty, facts = self.drift * torch.cat([v_real, v_fake]).square().mean(), {}
            if penalised:
                r1 = r1_penalty(v_real, real.before)
                penalty, facts = penalty + 0.5 * self.r1_gamma * r1, {"r1": r1.detach()}
        if self.training:
            self.judged.add(t, v_real.detach(), v_fake.detach())
        return loss, penalty, self._facts(v_real.detach(), v_fake.detach()) | facts

    def generator_loss(
        self,
        x_0: Tensor,
        condition: Tensor,
        rng: torch.Generator,
        present: Tensor | None = None,
        counted: Cut = everything,
    ) -> Tensor:
        """The generator's loss at times and noise of its own."""
        t = self.times.draw(len(x_0), self.schedule, rng)
        x_t = self.process.q_sample(x_0, t, self._noise(x_0, rng))
        prediction = self.predict(x_t, t, self._latent(x_0, rng), condition)
        fake = fake_pair(self.process, neutral(prediction, present), x_t, t, self._noise(x_0, rng))
        v_fake = self.judge(fake, t, condition, counted)
        with torch.autocast(self.device.type, enabled=False):
            return self.divergence.generator_loss(v_fake, self.saturating)

    def _update(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        optimizer.step()

    def _facts(self, v_real: Tensor, v_fake: Tensor) -> dict[str, Tensor]:
        """d_accuracy: share of pairs held rightly for real or fake. d_spread: standard deviation of V over both."""
        right = torch.cat([self.divergence.judges_real(v_real), ~self.divergence.judges_real(v_fake)])
        spread = torch.cat([v_real, v_fake]).std(unbiased=False)
        return {"d_accuracy": right.float().mean(), "d_spread": spread}

    def _noise(self, x_0: Tensor, rng: torch.Generator) -> Tensor:
        return self.process.colour(torch.randn(x_0.shape, generator=rng, device=x_0.device))

    def _latent(self, x_0: Tensor, rng: torch.Generator) -> Tensor | None:
        if not self.latent_dim:
            return None
        return torch.randn(len(x_0), self.latent_dim, generator=rng, device=x_0.device)

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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """val_divergence: the critic's estimate on unseen data, a lower bound of D_f up to sampling error. For fields
        also val_crps: fair CRPS of two members in deviations of the target, mean over variables and points."""
        encoded, present = self.codec.encode(batch), self.codec.present(batch)
        truth = self.codec.truth(batch)
        x_0 = self.codec.to_target(truth, encoded)
        rng = generator(self.device, self.seed, "validate", int(batch["index"][0]))
        loss, _, _ = self.discriminator_loss(x_0, encoded.condition, rng, penalised=False, present=present)
        values = {"val_divergence": -loss}
        if isinstance(self.codec, FieldCodec):
            members = self.generate(batch, 2, self.seed)
            first, second = (self.codec.to_target(members[:, m], encoded) for m in (0, 1))
            error = 0.5 * ((first - x_0).abs() + (second - x_0).abs())
            values["val_crps"] = mean_present(error - 0.5 * (first - second).abs(), present)
        self.add_validation(values, len(batch["index"]))

    # -- sampling --------------------------------------------------------------------------------------------------

    @property
    def sample_evaluations(self) -> int:
        return self.schedule.T

    def sample(self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator]) -> Tensor:
        def draw(size: Sequence[int]) -> Tensor:
            return torch.stack([torch.randn(*size, generator=rng, device=condition.device) for rng in rngs])

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.codec.clip(
                self.predict(x_t, t, draw([self.latent_dim]) if self.latent_dim else None, condition)
            )

        return Ancestral()(denoise, lambda: self.process.colour(draw(shape)), self.process)


@contextmanager
def _twice_differentiable(device: torch.device) -> Iterator[None]:
    """In single precision, where a second derivative is more than rounding, and not compiled: compiled networks have none."""
    with torch.autocast(device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        yield
