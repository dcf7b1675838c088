"""Networks behind one registry: `build_backbone("unet", in_channels=…, out_channels=…, **settings)`."""

from fdsr.backbones import discriminator, dit, unet, unet_encoder  # noqa: F401  they register themselves
from fdsr.backbones.registry import (
    available_backbones,
    build_backbone,
    build_discriminator,
    find_network,
    register_backbone,
    register_discriminator,
)
from fdsr.backbones.tiling import Tiler

__all__ = [
    "Tiler", "available_backbones", "build_backbone", "build_discriminator", "find_network", "register_backbone",
    "register_discriminator",
]  # fmt: skip
