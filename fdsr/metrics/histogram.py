"""Histograms that add up exactly, whatever the range of the data turns out to be.

The bins are the dyadic intervals [i 2^e, (i + 1) 2^e). Their edges do not depend on the data; only e does, the smallest for
which the data fit in `BINS` bins. Dyadic intervals nest, so that a histogram can be made coarser exactly, and the result is
the same for any order or split of the data.

A histogram is packed into one tensor (..., 2 + BINS): the exponent e, the number i of the first bin, the counts. An empty one
is all zero. One that has seen a value that is not finite is all NaN from then on.
"""

from __future__ import annotations

import torch
from torch import Tensor

# a bin is at most 1/16384 of the range of the data wide
BINS = 2**15
# beyond 2^50 bins from zero, float64 could not tell neighbours apart
_MANTISSA = 50
_FINEST = -900.0


def dyadic_grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Exponent and first bin that hold [low, high]: float64, shapes as given."""
    largest = torch.maximum(low.abs(), high.abs())
    finest = torch.where(largest > 0, torch.floor(torch.log2(largest)) - _MANTISSA, _FINEST).clamp(min=_FINEST)
    span = torch.where(high > low, torch.floor(torch.log2((high - low) / BINS)), _FINEST)
    exponent = torch.maximum(finest, span)
    # log2 rounds: one step coarser where the last value would fall out
    for _ in range(3):
        short = torch.floor(high * 2.0**-exponent) - torch.floor(low * 2.0**-exponent) >= BINS
        exponent = exponent + short
    return exponent, torch.floor(low * 2.0**-exponent)


def occupied_range(histogram: Tensor) -> tuple[Tensor, Tensor]:
    """Lower edges of the first and of the last bin that is not empty, (...); NaN for an empty histogram."""
    counts = histogram[..., 2:] > 0
    width, first = 2.0 ** histogram[..., 0], histogram[..., 1]
    seen = counts.any(-1)
    low = counts.to(torch.uint8).argmax(-1)
    high = BINS - 1 - counts.flip(-1).to(torch.uint8).argmax(-1)
    return tuple(torch.where(seen, (first + i) * width, torch.nan) for i in (low, high))  # type: ignore[return-value]


def merge_histograms(histograms: Tensor) -> Tensor:
    """The sum of histograms (n, ..., 2 + BINS): (..., 2 + BINS)."""
    broken = histograms.isnan().any(-1).any(0)
    low, high = occupied_range(histograms)
    low, high = low.nan_to_num(torch.inf).amin(0), high.nan_to_num(-torch.inf).amax(0)
    empty = low > high
    low, high = torch.where(empty, 0.0, low), torch.where(empty, 0.0, high)
    exponent, first = dyadic_grid(low, high)
    exponent = torch.maximum(exponent, coarsest(histograms))
    first = torch.floor(low * 2.0**-exponent)
    merged = torch.zeros_like(histograms[0])
    number = torch.arange(BINS, device=merged.device, dtype=merged.dtype)
    for h in histograms:
        edges = (h[..., 1:2] + number) * 2.0 ** h[..., :1]
        target = torch.floor(edges * 2.0 ** -exponent[..., None]) - first[..., None]
        occupied = h[..., 2:] > 0
        index = torch.where(occupied, target, 0.0).nan_to_num(0.0).long().clamp(0, BINS - 1)
        merged[..., 2:].scatter_add_(-1, index, torch.where(occupied, h[..., 2:], 0.0))
    merged[..., 0], merged[..., 1] = exponent, first
    merged = torch.where(empty[..., None], 0.0, merged)
    return torch.where(broken[..., None], torch.nan, merged)


def histogram_quantile(histogram: Tensor, level: float) -> Tensor:
    """The value below which `level` of the total count lies, linear within its bin: (...). NaN if empty."""
    counts = histogram[..., 2:]
    cumulative = counts.cumsum(-1)
    total = cumulative[..., -1:]
    # the first bin that reaches the level; the margin keeps rounding of the sums from moving across an empty bin
    index = (cumulative < level * total - 1e-12 * total).sum(-1, keepdim=True).clamp(max=BINS - 1)
    inside = counts.gather(-1, index)
    below = cumulative.gather(-1, index) - inside
    share = ((level * total - below) / inside).clamp(0.0, 1.0)
    value = (histogram[..., 1:2] + index + share) * 2.0 ** histogram[..., :1]
    return torch.where(total > 0, value, torch.nan).squeeze(-1)


def coarsest(histograms: Tensor) -> Tensor:
    """The largest exponent of the histograms (n, ..., 2 + BINS) that hold anything: (...)."""
    held = (histograms[..., 2:] > 0).any(-1)
    return torch.where(held, histograms[..., 0], -torch.inf).amax(0)
