"""A small classifier of Fashion-MNIST whose penultimate features measure a Fréchet distance offline.

The distance is called `classifier_frechet`, never FID: its features know ten kinds of clothes and nothing else. It is
sharp where Inception's are blunt (28 × 28 grey images), costs seconds on a CPU, and compares only with itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10
FEATURES = 64


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class FashionClassifier(nn.Module):
    """Six 3 × 3 convolutions, two of them halving the size, a mean over places, a linear head; 0.1 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers = ((1, 16), (16, 32, 2), (32, 32), (32, 64, 2), (64, 64), (64, FEATURES))  # channels in and out, stride
        self.trunk = nn.Sequential(*(_convolution(*layer) for layer in layers))
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (B, 64) of grey uint8 images (B, 1, 28, 28)."""
        x = images.to(torch.float32) / 127.5 - 1
        return self.trunk(x).mean((-2, -1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10)."""
        return self.head(self.features(images))
