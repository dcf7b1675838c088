"""Images side by side in one PNG."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from fdsr.atomic import written_whole


def write_grid(path: Path, images: Tensor, margin: int = 2) -> Path:
    """Write uint8 images (N, C, H, W), C 1 or 3, as a near-square grid on white, atomically."""
    # here, because nobody but rank 0 needs to wait for matplotlib
    from matplotlib.image import imsave

    n, _, height, width = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    tiles = torch.full((rows * columns, 3, height + margin, width + margin), 255, dtype=torch.uint8)
    tiles[:n, :, margin:, margin:] = images.cpu()
    canvas = F.pad(rearrange(tiles, "(r c) rgb h w -> rgb (r h) (c w)", r=rows), (0, margin, 0, margin), value=255)
    with written_whole(path) as partial:
        imsave(partial, np.ascontiguousarray(rearrange(canvas, "rgb h w -> h w rgb")), format="png")
    return path
