"""Networks behind one registry: `build_backbone("unet", in_channels=…, out_channels=…, **settings)`."""

from fdsr.backbones import dit, unet  # noqa: F401  both register themselves
from fdsr.backbones.registry import available_backbones, build_backbone, register_backbone

__all__ = ["available_backbones", "build_backbone", "register_backbone"]
