"""From images to features: what every extractor shares, and the small classifier's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import as_file, files

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fdsr.errors import FdsrError
from fdsr.metrics.images.classifier import FEATURES, FashionClassifier


def quantise(images: Tensor) -> Tensor:
    """Images in [−1, 1] to uint8, once and for all: (x·127.5 + 127.5), rounded to even, cut to 0…255."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, sizes and values of a state dict, independent of its order and device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


class FeatureExtractor(nn.Module):
    """A fixed network from uint8 images (B, C, H, W) to features (B, dimension), float32.

    Always in eval mode, without gradients, outside autocast and in full float32 precision, whatever surrounds it. Hold it
    in a callback, never in a module that is saved.

    name: short, for cache files. fingerprint: changes when its weights or its arithmetic do.
    """

    name: str
    dimension: int
    fingerprint: str

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Eval mode, always."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise FdsrError(f"{self.name} takes uint8 images (B, C, H, W), got {images.dtype} {tuple(images.shape)}")
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False),
        ):
            return self.features(images)

    def features(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def shipped_weights(name: str) -> dict[str, Tensor]:
    """The state dict of a network that fdsr ships, which experiments/train_{name}.py has made."""
    with as_file(files("fdsr.metrics") / "weights" / f"{name}.safetensors") as path:
        if not path.is_file():
            raise FdsrError(f"'{path}' is missing; reinstall fdsr, or run experiments/train_{name}.py")
        return load_file(path)


class ClassifierFeatures(FeatureExtractor):
    """Penultimate features (B, 64) of the Fashion-MNIST classifier that fdsr ships."""

    name = "fashion_classifier"
    dimension = FEATURES

    def __init__(self) -> None:
        super().__init__()
        state = shipped_weights("fashion_classifier")
        self.network = FashionClassifier()
        self.network.load_state_dict(state)
        self.fingerprint = weights_hash(state)
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (1, 28, 28):
            raise FdsrError(f"the Fashion-MNIST classifier takes 1 × 28 × 28 images, got {tuple(images.shape[1:])}")
        return self.network.features(images)
