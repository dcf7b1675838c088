"""What one step and four steps make of a distribution of many modes: eight Gaussians on a circle, by DDGAN.

    python experiments/mixture.py [--steps N] [--seeds N] [--output DIR]

All have the same networks, divergence, batches and training steps; only T differs. Writes a figure of the samples and a
table, one row a T and seed: modes found (of 8, each with at least a quarter of its share within three deviations), the share
of samples that lie within three deviations of a mode (98.9 % of the data do), and that of the least and the most frequent mode.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fdsr.backbones import register_backbone, register_discriminator
from fdsr.backbones.embedding import TimeEmbedding
from fdsr.callbacks import EMACallback
from fdsr.data.image_spec import ImageSpec
from fdsr.modules import DDGANModule
from fdsr.modules.image_codec import ImageCodec
from fdsr.modules.kinds import KINDS, Kind

# a point of the plane is an image of one pixel with two channels; both coordinates have about unit variance
RADIUS, DEVIATION, MODES = 1.4, 0.1, 8
STEPS = (1, 2, 4)
ANGLES = 2 * math.pi * torch.arange(MODES) / MODES
CENTRES = RADIUS * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


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

    def __init__(self, count: int, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        mode = torch.randint(MODES, (count,), generator=rng)
        self.points = CENTRES[mode] + DEVIATION * torch.randn(count, 2, generator=rng)

    def __len__(self) -> int:
        return len(self.points)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        rows = torch.tensor(indices)
        return {"image": self.points[rows][..., None, None], "index": rows}


class Mixture(L.LightningDataModule):
    """Batches of points, drawn anew every epoch."""

    def __init__(self, batch_size: int = 256, count: int = 20_000, seed: int = 0) -> None:
        super().__init__()
        self.spec = PointSpec(channels=2, height=1, width=1, padded=1)
        self.batch_size, self.points = batch_size, Points(count, seed)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.points, self.batch_size, shuffle=True, drop_last=True, collate_fn=lambda batch: batch)


def train(T: int, steps: int, seed: int = 0, divergence: str = "gan", progress: bool = False) -> DDGANModule:
    """A DDGAN of T steps, its generator's weights averaged, after `steps` updates."""
    L.seed_everything(seed)
    module = DDGANModule(
        backbone="perceptron", discriminator="perceptron", divergence=divergence, timesteps=T, latent_dim=2, r1_gamma=0.05, r1_every=1,
        lr=5e-4, discriminator_lr=5e-4, member_batch=4096, seed=seed,
    )  # fmt: skip
    ema = EMACallback(0.995)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, logger=False, enable_checkpointing=False, callbacks=[ema],
        enable_progress_bar=progress, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Mixture(seed=seed))
    module.load_state_dict({**module.state_dict(), **ema.average})
    return module.eval()


def draw(module: DDGANModule, count: int, seed: int = 1) -> Tensor:
    """Points (count, 2)."""
    return module.sample_images(range(count), seed)[..., 0, 0]


def judge(points: Tensor) -> dict[str, float]:
    """What the table says of a sample."""
    distance, nearest = torch.cdist(points, CENTRES).min(dim=1)
    close = distance < 3 * DEVIATION
    share = torch.bincount(nearest[close], minlength=MODES) / len(points)
    return {
        "modes": int((share > 0.25 / MODES).sum()),
        "within_3_deviations": float(close.float().mean()),
        "least_mode": float(share.min()),
        "most_mode": float(share.max()),
    }


def figure(samples: dict[str, Tensor], path: Path) -> None:
    """One panel a sample."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(3.4 * len(samples), 3.7), layout="constrained")
    for axis, (title, points) in zip(page.subplots(1, len(samples)), samples.items(), strict=True):
        axis.scatter(*points.T.numpy(), s=2, alpha=0.35, linewidths=0, color="C0")
        axis.scatter(*CENTRES.T.numpy(), s=30, marker="+", color="C3", linewidths=1)
        axis.set(title=title, xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])
    page.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000, help="updates of the generator, for each T")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/mixture"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    options.output.mkdir(parents=True, exist_ok=True)

    samples, rows = {"data": Points(4000, seed=99).points}, []
    for seed in range(options.seeds):
        for T in STEPS:
            start = time.monotonic()
            points = draw(train(T, options.steps, seed, progress=True), 4000)
            facts: dict[str, Any] = {k: round(v, 4) for k, v in judge(points).items()}
            rows.append(
                {"T": T, "seed": seed, "steps": options.steps, **facts, "seconds": round(time.monotonic() - start)}
            )
            samples.setdefault(f"T = {T}: {facts['modes']} of {MODES} modes", points)
            print(rows[-1])
    with (options.output / "mixture.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure(samples, options.output / "mixture.png")
    print(f"figure: {options.output / 'mixture.png'}")


if __name__ == "__main__":
    main()
