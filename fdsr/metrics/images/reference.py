"""Statistics of the features of real images, computed once and kept."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors
from tqdm import tqdm

from fdsr.atomic import written_whole
from fdsr.metrics.images.features import FeatureExtractor
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics

_VERSION = "1"
_SAVE_SECONDS = 60.0


class Reference(NamedTuple):
    """Real images as a distance sees them."""

    statistics: GaussianStatistics  # of all images
    features: Tensor  # (P, D) float32, of the first P images


def reference(
    extractor: FeatureExtractor,
    images: Tensor,
    fingerprint: str,
    cache: str | Path,
    kept: int = 10_000,
    batch_size: int = 250,
    progress: bool = True,
) -> Reference:
    """Statistics of `images` (N, C, H, W) uint8, and the features of the first `kept`, from the cache where it has them.

    The key of the cache holds the hashes of the extractor's weights and of the images (`fingerprint`). Every process
    calls this: each takes its share of the images, sums are merged, and the first writes the file, atomically. What a
    process has done is saved every minute, so that hours of Inception on a CPU resume where they were stopped.
    """
    kept = min(kept, len(images))
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    text = ":".join((_VERSION, extractor.fingerprint, fingerprint, str(len(images)), str(kept)))
    path = Path(cache) / f"{extractor.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    device = images.device
    known = [_read(path) if rank == 0 else None]
    if world > 1:
        dist.broadcast_object_list(known)  # what the first has found: none may compute alone
    if (found := known[0]) is None:
        partial = path.with_name(f".{path.stem}.partial-{rank}-of-{world}.safetensors")
        found = _compute(extractor, images, kept, batch_size, rank, world, partial, progress and rank == 0)
        if rank == 0:
            _write(path, found)
        if world > 1:
            dist.barrier()  # what is unfinished may go once the whole is there
        partial.unlink(missing_ok=True)
    statistics = GaussianStatistics(*(found[name].to(device) for name in GaussianStatistics._fields))
    return Reference(statistics, found["features"].to(device))


def _compute(
    extractor: FeatureExtractor,
    images: Tensor,
    kept: int,
    batch_size: int,
    rank: int,
    world: int,
    partial: Path,
    progress: bool,
) -> dict[str, Tensor]:
    """Neighbouring images to each process, so that their features come in order when they are gathered."""
    start, stop = len(images) * rank // world, len(images) * (rank + 1) // world
    moments = FeatureMoments(extractor.dimension).to(images.device)
    features = torch.empty(0, extractor.dimension)
    saved = _read(partial)
    if saved is not None:
        start, features = int(saved["next"]), saved["features"]
        for name in ("count", "total", "outer"):
            setattr(moments, name, saved[name].to(images.device))
        moments.update(features[:0].to(images.device))  # the metric counts as updated
    clock = time.monotonic()
    bar = tqdm(total=stop, initial=start, desc=f"real images, {extractor.name}", unit="image", disable=not progress)
    with bar:
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            new = extractor(images[first:last])
            moments.update(new)
            features = torch.cat([features, new[: max(0, kept - first)].cpu()])
            bar.update(last - first)
            if time.monotonic() - clock > _SAVE_SECONDS:
                _write(partial, {"next": torch.tensor(last), "features": features, "count": moments.count,
                                 "total": moments.total, "outer": moments.outer})  # fmt: skip
                clock = time.monotonic()
    statistics = moments.compute()
    if world > 1:
        features = torch.cat(gather_all_tensors(features.to(images.device)))
    return {**statistics._asdict(), "features": features}


def _read(path: Path) -> dict[str, Tensor] | None:
    """None if there is nothing, or nothing that can be read: then it is made again."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    with written_whole(path) as partial:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial)
