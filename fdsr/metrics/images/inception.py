"""InceptionV3's features as FID defines them: torch-fidelity's network, folded for speed.

The network is torch-fidelity's port of the 2015 TensorFlow graph (FID's genuine weights), resized to as TensorFlow 1 did.
What differs is arithmetic alone: batch norms are folded into the convolutions before them, grey images are carried as one
channel until the first convolution (whose kernel is then summed over its three equal inputs), and a few images at a time
go through in channels-last order. Features agree with torch-fidelity's to rounding.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fdsr.errors import FdsrError
from fdsr.metrics.images.features import FeatureExtractor, weights_hash

SIZE = 299
# after which of torch-fidelity's layers the features are averaged over places
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1")
_REST = (
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "MaxPool_2",
    *(f"Mixed_{block}" for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
)
LAYERS: dict[int, tuple[str, ...]] = {64: _STEM, 2048: _STEM + _REST}

# images at a time: on a CPU their activations stay in the cache, on a GPU beside those of other processes in its memory
_CPU_IMAGES, _GPU_IMAGES = 4, 128
_ARITHMETIC = "1"  # part of the fingerprint


class InceptionFeatures(FeatureExtractor):
    """Features (B, layer) of uint8 images (B, 1 or 3, H, W).

    Args:
        state: torch-fidelity's state dict (`fdsr.metrics.images.inception_weights.load_inception_weights`).
        layer: 2048, FID's, or 64, of the first max pooling.
    """

    def __init__(self, state: Mapping[str, Tensor], layer: int = 2048) -> None:
        super().__init__()
        if layer not in LAYERS:
            raise FdsrError(f"Inception has no features of layer {layer}; choose {' or '.join(map(str, LAYERS))}")
        self.dimension, self.name = layer, f"inception{layer}"
        self.fingerprint = f"{_ARITHMETIC}-{weights_hash({k: v for k, v in state.items() if not k.startswith('fc.')})}"
        network = blank_network()
        try:
            # the classification head is no feature; not every distribution of the weights has it
            head = {k: torch.zeros_like(v) for k, v in network.state_dict().items() if k.startswith("fc.")}
            network.load_state_dict(head | dict(state), strict=True)
        except RuntimeError as error:
            raise FdsrError("the Inception weights are not those of torch-fidelity; see fid_weights") from error
        first, *others = (_folded(getattr(network, name)) for name in LAYERS[layer])
        self.colour, self.grey = first, _grey(first.conv)
        self.layers = nn.Sequential(*others)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise FdsrError(f"Inception takes grey or colour images, got {images.shape[1]} channels")
        at_once = _GPU_IMAGES if images.is_cuda else _CPU_IMAGES
        if len(images) == 0:
            return torch.empty(0, self.dimension, device=images.device)
        return torch.cat([self._pass(some) for some in images.split(at_once)])

    def _pass(self, images: Tensor) -> Tensor:
        x = (resize(images.to(torch.float32)) - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        x = torch.relu_(self.grey(x)) if x.shape[1] == 1 else self.colour(x)
        return self.layers(x).mean((-2, -1))


def resize(images: Tensor, size: int = SIZE) -> Tensor:
    """Bilinear (B, C, H, W) to (B, C, size, size) as TensorFlow 1: pixel i of the output lies at i · H/size, no half-pixel shift."""
    for axis in (-2, -1):
        n = images.shape[axis]
        step = torch.tensor(n / size, dtype=torch.float32)
        place = torch.arange(size, dtype=torch.float32, device=images.device) * step
        low = place.long()
        weight = (place - low).reshape(-1, 1) if axis == -2 else place - low
        first, second = (images.index_select(axis, i) for i in (low, (low + 1).clamp(max=n - 1)))
        images = torch.lerp(first, second, weight)
    return images


def blank_network() -> Any:
    """torch-fidelity's InceptionV3 with weights still to be loaded."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch fails with the latter
        raise FdsrError(
            f"FID needs torch-fidelity and a torchvision that fits torch ({error}); pip install 'fdsr[fid]'"
        ) from error

    class Blank(FeatureExtractorInceptionV3):
        """Its constructor insists on a file, even of nothing."""

        def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
            return super().load_state_dict(state_dict, strict=strict and bool(state_dict), assign=assign)

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    return Blank("blank", ["2048"], feature_extractor_weights_path=nothing)


def _folded(layer: nn.Module) -> Any:
    """The layer with every batch norm folded into the convolution before it."""
    for part in layer.modules():
        if isinstance(getattr(part, "bn", None), nn.BatchNorm2d):
            block: Any = part
            block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
    return layer


def _grey(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution as it acts on three equal channels, given one."""
    grey = nn.Conv2d(1, convolution.out_channels, convolution.kernel_size, convolution.stride)  # type: ignore[arg-type]
    assert convolution.bias is not None and grey.bias is not None
    grey.weight.data = convolution.weight.detach().sum(1, keepdim=True)
    grey.bias.data = convolution.bias.detach().clone()
    return grey
