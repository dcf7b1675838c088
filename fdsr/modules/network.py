"""Training of a single network: optimiser, learning-rate schedule, seeded noise."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from fdsr.backbones import Tiler, build_backbone, find_network
from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.first_stage import FirstStage
from fdsr.modules.kinds import Spec
from fdsr.modules.seeding import generator


def check_settings(kind: Literal["backbone", "discriminator"], name: str, settings: dict[str, Any]) -> None:
    """Raises FdsrError for a network that does not exist, or settings that it does not have."""
    try:
        find_network(kind, name, settings)
    except ValueError as error:
        raise FdsrError(f"model.{kind}: {error}") from error


class NetworkModule(DownscalingModule):
    """A method with one `network` from the backbone registry, trained by AdamW with warm-up and cosine decay.

    Args:
        backbone: the network: `unet`, `dit`, or the import path of a class of your own (see `fdsr.backbones`).
        backbone_args: its settings.
        lr: learning rate after the warm-up.
        weight_decay: of AdamW.
        betas: of AdamW.
        warmup_steps: steps over which the rate rises to `lr`.
        final_lr_fraction: what the rate has fallen to at the last step, as a fraction of `lr`.
        tile: how whole fields are evaluated in tests and predictions: `auto`, in overlapping tiles where memory asks for it; `off`,
            whole; or tiles of ROWSxCOLUMNS points, as in 256x256, see `fdsr.backbones.tiling`.
        kwargs: what DownscalingModule takes.
    """

    network: nn.Module

    def __init__(
        self,
        backbone: str = "unet",
        backbone_args: dict[str, Any] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 100,
        final_lr_fraction: float = 0.02,
        tile: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tile = tile
        self.backbone, self.backbone_args = backbone, dict(backbone_args or {})
        self.check_networks()
        require_at_least(0, "model.", lr=lr, weight_decay=weight_decay, warmup_steps=warmup_steps)
        self.lr, self.weight_decay, self.betas = lr, weight_decay, betas
        self.warmup_steps, self.final_lr_fraction = warmup_steps, final_lr_fraction
        self._validated: dict[str, Tensor] = {}  # name → (Σ value, samples) of the validation under way

    @property
    def tile(self) -> str:
        """See the class; may be set at any time."""
        return self.tiler.setting

    @tile.setter
    def tile(self, setting: str) -> None:
        self.tiler = Tiler(setting, lambda line: rank_zero_info(f"tiles: {line}"))
        if self.attached:
            self.codec.tiler = self.tiler

    def _make_codec(self, spec: Spec, stage: FirstStage | None) -> Codec:
        codec = super()._make_codec(spec, stage)
        codec.tiler = self.tiler
        return codec

    def evaluate(self, x: Tensor, t: Tensor | None, **latent: Tensor) -> Tensor:
        """The network's output on x (N, …, H, W), in float32: in tiles where it is evaluated on whole fields and `tile` says so."""
        return self.tiler(self.network, x, t, wrap=self.codec.wraps(x), **latent).float()

    def check_networks(self) -> None:
        """Raises FdsrError for a network that does not exist, or settings that it does not have."""
        check_settings("backbone", self.backbone, self.backbone_args)

    def input_channels(self, codec: Codec) -> int:
        """Channels of the network's input besides the condition."""
        return 0

    def output_channels(self, codec: Codec) -> int:
        """Channels of the network's output."""
        return codec.channels

    def build(self, codec: Codec) -> None:
        # the same initial weights whatever ran before: a method's result must not depend on its neighbours
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = build_backbone(
                self.backbone,
                in_channels=self.input_channels(codec) + codec.condition_channels,
                out_channels=self.output_channels(codec),
                **self.backbone_args,
            )

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Scalar training loss of a batch, with all randomness from `rng`."""
        raise NotImplementedError

    def validation_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The loss that validation reports; that of training unless a method has a steadier one."""
        return self.loss(batch, rng)

    def step_noise(self) -> torch.Generator:
        """The generator of all noise of this training step and rank."""
        step = self.trainer.fit_loop.total_batch_idx
        # dropout draws from the global generator: seeded by the step as well, a resumed run repeats it
        torch.manual_seed(generator("cpu", self.seed, "dropout", step, self.global_rank).initial_seed())
        return generator(self.device, self.seed, "train", step, self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | dict[str, Tensor]:
        loss = self.loss(batch, self.step_noise())
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch["index"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        # draws that do not depend on the seed: what is compared over seeds is the network
        loss = self.validation_loss(batch, generator(self.device, 0, "validate", int(batch["index"][0])))
        self.add_validation({"val_loss": loss}, len(batch["index"]))
        return loss

    def add_validation(self, values: dict[str, Tensor], n: int) -> None:
        """Add means over n samples to those over all processes, which are logged when validation ends.

        Lightning's own averaging waits for every process that has no sample, and so has logged nothing.
        """
        weight = torch.tensor(float(n), device=self.device)
        for name, value in values.items():
            total = self._validated.get(name, torch.zeros(2, device=self.device))
            self._validated[name] = total + torch.stack([value.detach().float() * n, weight])

    def on_validation_epoch_end(self) -> None:
        strategy, found = self.trainer.strategy, self._validated
        self._validated = {}
        # the first process always has a sample, and so knows the names
        for name in strategy.broadcast(list(found)):
            total = strategy.reduce(found.get(name, torch.zeros(2, device=self.device)), reduce_op="sum")
            self.log(name, total[0] / total[1], prog_bar=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.decay(optimizer), "interval": "step"}}

    def decay(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """Linear warm-up, then a half cosine down to `final_lr_fraction` at the trainer's last step.

        A training that is limited by time alone has none: its rate stays as it is after the warm-up.
        """
        total = max(1, self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
            return warm * (self.final_lr_fraction + (1 - self.final_lr_fraction) * cosine)

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
