"""Images side by side in one PNG."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fdsr.atomic import written_whole


def write_grid(path: Path, images: Tensor, margin: int = 2) -> Path:
    """Write uint8 images (N, C, H, W), C 1 or 3, as a near-square grid on white, atomically."""
    # here, because nobody but rank 0 needs to wait for matplotlib
    from matplotlib.image import imsave

    n, _, height, width = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    size = (rows * (height + margin) + margin, columns * (width + margin) + margin)
    canvas = torch.full((3, *size), 255, dtype=torch.uint8)
    for i, image in enumerate(images.cpu()):
        y, x = (margin + place * (size + margin) for place, size in ((i // columns, height), (i % columns, width)))
        canvas[:, y : y + height, x : x + width] = image
    with written_whole(path) as partial:
        imsave(partial, np.ascontiguousarray(canvas.permute(1, 2, 0).numpy()), format="png")
    return path
