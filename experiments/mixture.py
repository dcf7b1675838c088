"""What one step and several steps make of a distribution of many modes, a mixture of Gaussians, by DDGAN.

    python experiments/mixture.py [--example circle|scattered] [--steps N] [--seeds N] [--T T ...] [--output DIR]

`circle` has eight modes in a plane; `scattered` has 25 in eight dimensions, networks of a quarter of the weights, smaller batches and
no R1. In either all have the same networks, divergence, batches and training steps; only T differs. Writes a figure of the samples and a
table, one row a T, seed and quarter of training: modes found (each with at least a quarter of its share within its radius, where 98.9 %
of its data lie), modes that at least a quarter of their share of samples is nearest to, the share of samples within a radius, and that of
the least and the most frequent mode.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fdsr.backbones import register_backbone, register_discriminator
from fdsr.backbones.embedding import TimeEmbedding
from fdsr.callbacks import EMACallback
from fdsr.callbacks.evaluation_mode import averaged_weights
from fdsr.data.image_spec import ImageSpec
from fdsr.modules import DDGANModule
from fdsr.modules.image_codec import ImageCodec
from fdsr.modules.kinds import KINDS, Kind


@dataclass(frozen=True, eq=False)
class Example:
    """A mixture of equal Gaussians, coordinates of about unit variance, and how it is learnt."""

    centres: Tensor  # (modes, dimensions)
    deviation: float
    radius: float  # in deviations: 98.9 % of χ of as many dimensions
    width: int  # of both perceptrons
    batch: int
    r1_gamma: float
    drift: float
    lr: float
    discriminator_lr: float


# a point is an image of one pixel with as many channels as it has dimensions
ANGLES = 2 * math.pi * torch.arange(8) / 8
CIRCLE = Example(1.4 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1), 0.1, 3.0, 128, 256, 0.05, 0.0, 5e-4, 5e-4)
SCATTERED = Example(
    torch.randn(25, 8, generator=torch.Generator().manual_seed(7)), 0.1, 4.45, 64, 128, 0.0, 1e-3, 1e-3, 2e-3
)
EXAMPLES = {"circle": CIRCLE, "scattered": SCATTERED}


class PointSpec(ImageSpec):
    """Images whose values are not bounded."""


class PointCodec(ImageCodec):
    """Points as they are."""

    def squash(self, x: Tensor) -> Tensor:
        return x

    clip = squash


KINDS["points"] = Kind(PointSpec, PointCodec)


class Perceptron(nn.Module):
    """x (B, C), with further inputs concatenated, and t (B,) → (B, C')."""

    def __init__(self, in_features: int, out_features: int, width: int, layers: int = 3) -> None:
        super().__init__()
        self.embed, self.stem = TimeEmbedding(width, width), nn.Linear(in_features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.head = nn.Linear(width, out_features)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.stem(x) + self.embed(t, len(x))
        for layer in self.hidden:
            h = layer(nn.functional.leaky_relu(h, 0.2))
        return self.head(nn.functional.leaky_relu(h, 0.2))


@register_backbone("perceptron")
class Generator(Perceptron):
    """A perceptron in the place of a U-Net: x (B, C, 1, 1), t, z → (B, C', 1, 1)."""

    def __init__(self, in_channels: int, out_channels: int, *, width: int = 128, latent_dim: int = 2) -> None:
        super().__init__(in_channels + latent_dim, out_channels, width)

    def forward(self, x: Tensor, t: Tensor, *, z: Tensor, wrap: bool = False) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([x[..., 0, 0], z], dim=1), t)[..., None, None]


@register_discriminator("perceptron")
class Discriminator(Perceptron):
    """x (B, C, 1, 1), t → V (B,)."""

    def __init__(self, in_channels: int, *, width: int = 128) -> None:
        super().__init__(in_channels, 1, width)

    def forward(self, x: Tensor, t: Tensor, *, wrap: bool = False) -> Tensor:  # type: ignore[override]
        return super().forward(x[..., 0, 0], t)[:, 0]


class Points(Dataset):
    """A fixed set of draws from the mixture."""

    def __init__(self, count: int, seed: int, example: Example = CIRCLE) -> None:
        rng = torch.Generator().manual_seed(seed)
        mode = torch.randint(len(example.centres), (count,), generator=rng)
        self.points = example.centres[mode] + example.deviation * torch.randn(
            count, example.centres.shape[1], generator=rng
        )

    def __len__(self) -> int:
        return len(self.points)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        rows = torch.tensor(indices)
        return {"image": self.points[rows][..., None, None], "index": rows}


class Mixture(L.LightningDataModule):
    """Batches of points, drawn anew every epoch."""

    def __init__(self, example: Example, count: int = 20_000, seed: int = 0) -> None:
        super().__init__()
        self.spec = PointSpec(channels=example.centres.shape[1], height=1, width=1, padded=1)
        self.batch_size, self.points = example.batch, Points(count, seed, example)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.points, self.batch_size, shuffle=True, drop_last=True, collate_fn=lambda batch: batch)


class Course(Callback):
    """What is drawn with the averaged weights at every quarter of training."""

    def __init__(self, steps: int, ema: EMACallback, example: Example) -> None:
        self.steps, self.ema, self.example = steps, ema, example
        self.found: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step * 4 % self.steps == 0:
            with averaged_weights(trainer, pl_module):
                self.found[step] = judge(draw(cast(DDGANModule, pl_module), 4000), self.example)


def train(
    T: int, steps: int, seed: int = 0, divergence: Any = "gan", progress: bool = False, example: Example = CIRCLE
) -> tuple[DDGANModule, dict[int, dict[str, float]]]:
    """A DDGAN of T steps, its generator's weights averaged, after `steps` updates, and what it drew on the way."""
    L.seed_everything(seed, verbose=False)
    width = {"width": example.width}
    module = DDGANModule(
        backbone="perceptron", backbone_args=width, discriminator="perceptron", discriminator_args=width, divergence=divergence,
        timesteps=T, latent_dim=2, r1_gamma=example.r1_gamma, r1_every=1, drift=example.drift, lr=example.lr,
        discriminator_lr=example.discriminator_lr, member_batch=4096, seed=seed,
    )  # fmt: skip
    ema = EMACallback(0.995)
    course = Course(steps, ema, example)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, logger=False, enable_checkpointing=False, callbacks=[ema, course],
        enable_progress_bar=progress, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Mixture(example, seed=seed))
    module.load_state_dict({**module.state_dict(), **ema.average})
    return module.eval(), course.found


def draw(module: DDGANModule, count: int, seed: int = 1) -> Tensor:
    """Points (count, dimensions)."""
    return module.sample_images(range(count), seed)[..., 0, 0]


def judge(points: Tensor, example: Example = CIRCLE) -> dict[str, float]:
    """What the table says of a sample."""
    distance, nearest = torch.cdist(points, example.centres).min(dim=1)
    close, modes = distance < example.radius * example.deviation, len(example.centres)
    share = torch.bincount(nearest[close], minlength=modes) / len(points)
    return {
        "modes": int((share > 0.25 / modes).sum()),
        "nearest_modes": int((torch.bincount(nearest, minlength=modes) / len(points) > 0.25 / modes).sum()),
        "within_radius": float(close.float().mean()),
        "least_mode": float(share.min()),
        "most_mode": float(share.max()),
    }


def figure(samples: dict[str, Tensor], example: Example, path: Path) -> None:
    """One panel a sample: its first two dimensions."""
    from matplotlib.figure import Figure

    limit = 1.4 * float(example.centres[:, :2].abs().max())
    page = Figure(figsize=(3.4 * len(samples), 3.7), layout="constrained")
    for axis, (title, points) in zip(page.subplots(1, len(samples)), samples.items(), strict=True):
        axis.scatter(*points.T[:2].numpy(), s=2, alpha=0.35, linewidths=0, color="C0")
        axis.scatter(*example.centres.T[:2].numpy(), s=30, marker="+", color="C3", linewidths=1)
        axis.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    page.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", choices=EXAMPLES, default="circle")
    parser.add_argument("--steps", type=int, default=4000, help="updates of the generator, for each T; a multiple of 4")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--T", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--output", type=Path, default=Path("experiments/results/mixture"))
    options = parser.parse_args()
    example, name = EXAMPLES[options.example], "mixture" if options.example == "circle" else options.example
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    options.output.mkdir(parents=True, exist_ok=True)

    samples, rows = {"data": Points(4000, 99, example).points}, []
    for seed in options.seeds:
        for T in options.T:
            module, course = train(T, options.steps, seed, progress=True, example=example)
            for step, facts in course.items():
                rows.append({"T": T, "seed": seed, "steps": step, **{k: round(v, 4) for k, v in facts.items()}})
            print(rows[-1])
            modes = f"{rows[-1]['nearest_modes']} of {len(example.centres)} modes"
            samples.setdefault(f"T = {T}: {modes}", draw(module, 4000))
    with (options.output / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure(samples, example, options.output / f"{name}.png")
    print(f"figure: {options.output / f'{name}.png'}")


if __name__ == "__main__":
    main()
