"""What is known of a set of images before any training: their mean, and their power about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.fft import dctn

from fdsr.data.image_spec import ImageSpec
from fdsr.data.images.batches import EvaluationBatches
from fdsr.data.images.files import LabelledImages


def measured(spec: ImageSpec, data: LabelledImages) -> ImageSpec:
    """`spec` with mean, variance and power of `data`, in the square in which a network sees them; summed in float64."""
    shape = (spec.channels, spec.padded, spec.padded)
    total, square = np.zeros(shape), np.zeros(shape)
    batches, n = EvaluationBatches(data, spec, 1000), len(data.images)
    for batch in batches:
        total += batch["image"].double().sum(0).cpu().numpy()
    mean = total / n
    for batch in batches:
        square += np.square(dctn(batch["image"].double().cpu().numpy() - mean, axes=(-2, -1), norm="ortho")).sum(0)
    power = square / n
    variance = power.mean((1, 2))  # Parseval: the mean over coefficients is that over points
    power = power / variance[:, None, None]
    found = {"mean": mean, "variance": variance, "power": power}
    return replace(spec, **{name: torch.from_numpy(x).float() for name, x in found.items()})  # type: ignore[arg-type]
