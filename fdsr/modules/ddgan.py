"""DDGANModule: denoising diffusion GAN, a few large steps of diffusion each drawn by a conditional GAN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fdsr.diffusion import (
    DIVERGENCES,
    PARAMETRISATIONS,
    Ancestral,
    Divergence,
    GaussianDiffusion,
    Pair,
    RealFourier,
    SignalTimes,
    Step,
    TimeSampling,
    fake_pair,
    r1_penalty,
    real_pair,
    vp_schedule,
)
from fdsr.diffusion.losses.loss import everything
from fdsr.errors import FdsrError, choose
from fdsr.modules.adversarial import AdversarialModule
from fdsr.modules.codec import Batch, Codec, Cut
from fdsr.modules.ddpm import PredictionName, warn_of_signal
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.from_ddpm import begin_discriminator, begin_network, read_ddpm
from fdsr.modules.generative import Targets
from fdsr.modules.image_codec import ImageCodec
from fdsr.modules.judged import Judged
from fdsr.modules.masking import cut, mean_present, neutral
from fdsr.modules.seeding import generator

DivergenceName = Literal["gan", "hellinger", "reverse_kl", "total_variation", "kl", "pearson_chi2", "jensen_shannon"]


class DDGANModule(AdversarialModule):
    """Denoising diffusion GAN (Xiao et al. 2022), of images or, given the coarse field, of weather fields.

    The generator `network` predicts x̂_0 from (x_t, t, z) and the condition, x̂_{t−1} is drawn from the exact posterior
    q(· | x_t, x̂_0), and the discriminator scores pairs (x_{t−1}, x_t) at t. Real pairs are one further step of noise
    apart. At T = 1 this is a plain conditional GAN. The losses are those of an f-divergence between the true pairs and
    the generator's, with R1 on the real ones and a pull of V towards 0: see fdsr/diffusion/README.md. They are computed in
    float32; where e^V occurs V is bounded softly (see `fdsr.diffusion.divergences`).

    Args:
        divergence: D_f between the true pairs and the generator's.
        saturating: generator's loss −E[f*(g(V))] (true) or −E[g(V)] (false); null takes the divergence's default.
        timesteps: T of the VP schedule; also the network evaluations that a sample costs.
        times: which of them a batch is trained at.
        prediction: what the generator's network puts out; `x0` passes through the data's range, tanh for images, the others do not.
        latent_dim: length of z, drawn anew at every step of the sampler; 0 leaves the noise in x_t as the only one.
        drift: ε of ε E[V²] over all pairs in every batch, which brings V back from where a divergence is flat.
        reconstruction: λ of λ E (x̂_0 − x_0)² in the generator's loss, mean over points (compare Xu et al. 2023, SiDDM).
        from_ddpm: a checkpoint or model folder of a DDPMModule with the same backbone, VP schedule and prediction: the generator
            begins as its x̂_0, with its averaged weights and a z without effect. Read when training begins.
        discriminator_from_ddpm: the discriminator begins from that network as well; it must be a `unet_encoder` of its settings.
        kwargs: what AdversarialModule takes.
    """

    meaning = (*AdversarialModule.meaning, "timesteps", "prediction")

    def __init__(
        self,
        divergence: DivergenceName | Divergence = "gan",
        saturating: bool | None = None,
        timesteps: int = 4,
        times: TimeSampling = SignalTimes(),
        prediction: PredictionName = "x0",
        latent_dim: int = 100,
        drift: float = 1e-3,
        reconstruction: float = 0.0,
        from_ddpm: str | None = None,
        discriminator_from_ddpm: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(divergence, Divergence) and DIVERGENCES.get(divergence.name) is divergence:
            divergence = divergence.name  # type: ignore[assignment]  # which is what a checkpoint can say of it
        super().__init__(**kwargs)
        if min(drift, reconstruction, latent_dim) < 0:
            raise FdsrError("model: drift, reconstruction and latent_dim must not be negative")
        if discriminator_from_ddpm and from_ddpm is None:
            raise FdsrError("model.discriminator_from_ddpm needs model.from_ddpm, the checkpoint of a DDPMModule")
        try:
            self.schedule = vp_schedule(timesteps)
        except ValueError as error:
            raise FdsrError(f"model: {error}") from error
        self.divergence: Divergence = (
            divergence if isinstance(divergence, Divergence) else choose(DIVERGENCES, divergence, "model.divergence")
        )
        self.judged = Judged(self.divergence, timesteps)
        self.parametrisation = choose(PARAMETRISATIONS, prediction, "model.prediction")
        self.prediction, self.saturating, self.timesteps, self.times = prediction, saturating, timesteps, times
        self.drift, self.reconstruction, self.latent_dim = drift, reconstruction, latent_dim
        self.from_ddpm, self.discriminator_from_ddpm = from_ddpm, discriminator_from_ddpm
        if latent_dim:
            self.backbone_args["latent_dim"] = latent_dim
        self.check_networks()

    # -- networks --------------------------------------------------------------------------------------------------

    def input_channels(self, codec: Codec) -> int:
        return codec.channels

    def prepare(self, codec: Codec) -> None:
        self.process = GaussianDiffusion(self.schedule, spectrum=codec.spectrum(RealFourier()))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        warn_of_signal(self.process)
        if self.from_ddpm is not None and self.begins:
            ddpm = read_ddpm(self.from_ddpm, self, self.prediction)
            if self.prediction == "x0" and isinstance(self.codec, ImageCodec):
                raise FdsrError(
                    "model.from_ddpm: an x0 of images passes through tanh here and did not in the DDPM; use prediction v or eps for both"
                )
            begin_network(self.network, ddpm.network)
            if self.discriminator_from_ddpm:
                begin_discriminator(self.discriminator, self.discriminator_args, ddpm)

    def predict(self, x_t: Tensor, step: Step, z: Tensor | None, condition: Tensor) -> Tensor:
        """The generator's x̂_0 (B, C, H, W) in float32."""
        latent = {} if z is None else {"z": z}
        x = torch.cat([x_t, condition], dim=1)
        output = self.evaluate(x, self.process.network_time(step.t), **latent)
        if self.prediction == "x0":
            return self.codec.squash(output)
        return self.parametrisation.to_x_0(self.process, output, x_t, step.t)

    def judge(self, pair: Pair, step: Step, condition: Tensor, counted: Cut = everything) -> Tensor:
        """The discriminator's V (B,) of pairs where they count, in float32. Half of a denoiser is told the time of x_s."""
        x = counted(torch.cat([pair.before, pair.after, condition], dim=1))
        time = self.process.network_time(step.s if self.discriminator_from_ddpm else step.t)
        # of one field there may be many cuts
        return self.discriminator(x, time.expand(len(x)), wrap=self.codec.wraps(x)).float()

    # -- training --------------------------------------------------------------------------------------------------

    def draw_steps(self, count: int, rng: torch.Generator) -> Step:
        """The times of `count` pairs to train at."""
        t = self.times.draw(count, self.schedule, rng)
        return Step(t, t - 1)

    def even_steps(self, index: Tensor) -> Step:
        """Times for samples of these numbers (B,): all of them equally often, whatever the seed."""
        t = 1 + index % self.timesteps
        return Step(t, t - 1)

    def discriminator_loss(
        self, targets: Targets, rng: torch.Generator, penalised: bool, step: Step | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See AdversarialModule. No graph through the generator; real and fake pairs share their gaps. step: None draws times."""
        x_0, condition, present, counted = targets
        step, noise = step or self.draw_steps(len(x_0), rng), lambda: self._noise(x_0, rng)
        real = real_pair(self.process, x_0, step, noise(), noise())
        with torch.no_grad():
            prediction = self.predict(real.after, step, self._latent(x_0, rng), condition)
            fake = fake_pair(self.process, neutral(prediction, present), real.after, step, noise())
        real.before.requires_grad_(penalised)
        with _twice_differentiable(self.device) if penalised else nullcontext():
            v_real = self.judge(real, step, condition, counted)
        v_fake = self.judge(fake, step, condition, counted)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.divergence.critic_loss(v_real, v_fake)
            penalty, facts = self.drift * torch.cat([v_real, v_fake]).square().mean(), {}
            if penalised:
                r1 = r1_penalty(v_real, real.before)
                penalty, facts = penalty + 0.5 * self.r1_gamma * r1, {"r1": r1.detach()}
        if self.training:
            self.judged.add(step.t, v_real.detach(), v_fake.detach())
        return loss, penalty, self._facts(v_real.detach(), v_fake.detach()) | facts

    def generator_loss(self, targets: Targets, rng: torch.Generator) -> Tensor:
        """The generator's loss at times and noise of its own."""
        x_0, condition, present, counted = targets
        step = self.draw_steps(len(x_0), rng)
        x_t = self.process.q_sample(x_0, step.t, self._noise(x_0, rng))
        prediction = neutral(self.predict(x_t, step, self._latent(x_0, rng), condition), present)
        fake = fake_pair(self.process, prediction, x_t, step, self._noise(x_0, rng))
        v_fake = self.judge(fake, step, condition, counted)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.divergence.generator_loss(v_fake, self.saturating)
            if self.reconstruction:
                loss = loss + self.reconstruction * mean_present(
                    counted((prediction - x_0).square()), cut(counted, present)
                )
        return loss

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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """val_divergence: the critic's estimate on unseen data, a lower bound of D_f up to sampling error; for fields on patches
        of them, as many and as large as a training batch has. For fields also val_crps: fair CRPS of two members in deviations
        of the target, mean over variables and points."""
        encoded, present = self.codec.encode(batch), self.codec.present(batch)
        truth = self.codec.truth(batch)
        x_0 = self.codec.to_target(truth, encoded)
        # times and draws that do not depend on the seed, as other methods': what is compared over seeds is the networks
        rng, of_fields = (
            generator(self.device, 0, "validate", int(batch["index"][0])),
            isinstance(self.codec, FieldCodec),
        )
        targets = Targets(x_0, encoded.condition, present, self._trained_patches(x_0, rng))
        # of fields, which are few and whose numbers may be multiples of T, every one at every time; images share the times
        turns = [self.even_steps(batch["index"] + turn) for turn in range(self.timesteps if of_fields else 1)]
        losses = [self.discriminator_loss(targets, rng, False, step)[0] for step in turns]
        values = {"val_divergence": -torch.stack(losses).mean()}
        if of_fields:
            members = self.generate(batch, 2, 0)
            first, second = (self.codec.to_target(members[:, m], encoded) for m in (0, 1))
            error = 0.5 * ((first - x_0).abs() + (second - x_0).abs())
            values["val_crps"] = mean_present(error - 0.5 * (first - second).abs(), present)
        self.add_validation(values, len(batch["index"]))

    def _trained_patches(self, x_0: Tensor, rng: torch.Generator) -> Cut:
        """What cuts a whole field (1, C, H, W) to the sizes that the critic knows (N, C, h, w); nothing, where these are the same."""
        data = self._datamodule()
        size = getattr(data, "patch", None)
        if size is None or not isinstance(self.codec, FieldCodec) or len(x_0) != 1:
            return everything
        size = [
            min(part, whole) for whole, part in zip(x_0.shape[-2:], size, strict=True)
        ]  # of a region that is smaller
        corners = [
            torch.randint(whole - part + 1, (data.batch_size,), generator=rng, device=rng.device).tolist()
            for whole, part in zip(x_0.shape[-2:], size, strict=True)
        ]

        def patches(x: Tensor) -> Tensor:
            return torch.cat([x[..., r : r + size[0], c : c + size[1]] for r, c in zip(*corners, strict=True)])

        return patches

    # -- sampling --------------------------------------------------------------------------------------------------

    @property
    def sample_evaluations(self) -> int:
        return self.timesteps

    def sample(
        self, condition: Tensor, shape: Sequence[int], rngs: list[torch.Generator], settle: Callable[[Tensor], Tensor]
    ) -> Tensor:
        stride = self.schedule.T // self.timesteps

        def draw(size: Sequence[int]) -> Tensor:
            return torch.stack([torch.randn(*size, generator=rng, device=condition.device) for rng in rngs])

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            z = draw([self.latent_dim]) if self.latent_dim else None
            return settle(self.predict(x_t, Step(t, t - stride), z, condition))

        return Ancestral(self.timesteps, "uniform")(denoise, lambda: self.process.colour(draw(shape)), self.process)


@contextmanager
def _twice_differentiable(device: torch.device) -> Iterator[None]:
    """Single precision, where a second derivative is more than rounding, and nothing that has none: compiled networks, fused attention."""
    eager, single = torch.compiler.set_stance("force_eager"), torch.autocast(device.type, enabled=False)
    with eager, single, sdpa_kernel(SDPBackend.MATH):
        yield
