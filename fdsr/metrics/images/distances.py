"""The distances between sets of images, by name: of which features, and by which rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torchmetrics import Metric

from fdsr.errors import FdsrError
from fdsr.metrics.frechet import FrechetDistance, frechet_distance
from fdsr.metrics.images.features import ClassifierFeatures, FeatureExtractor
from fdsr.metrics.images.inception import InceptionFeatures
from fdsr.metrics.images.inception_weights import load_inception_weights
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.images.reference import Reference

ExtractorMaker = Callable[[str | Path | None, str | Path], FeatureExtractor]


def _inception(weights: str | Path | None, cache: str | Path) -> FeatureExtractor:
    return InceptionFeatures(load_inception_weights(weights, cache))


def _classifier(weights: str | Path | None, cache: str | Path) -> FeatureExtractor:
    return ClassifierFeatures()


def _frechet(reference: Reference) -> Metric:
    return FrechetDistance(reference.statistics)


def _kernel(reference: Reference) -> Metric:
    return KernelDistance(reference.features)


def _update_sums(metric: Metric, features: Tensor, indices: Tensor) -> None:
    metric.update(features)


def _update_indexed(metric: Metric, features: Tensor, indices: Tensor) -> None:
    metric.update(features, indices)


def _frechet_between(a: Reference, b: Reference) -> float:
    return float(frechet_distance(a.statistics, b.statistics))


def _kernel_between(a: Reference, b: Reference) -> float:
    """Of the features that are kept. Not `compute`, which would merge what every process has anyway."""
    return float(KernelDistance(b.features).between(a.features))


@dataclass(frozen=True)
class ImageDistance:
    """A distance of generated to real images.

    extractor: makes the features' network from (fid_weights, cache). metric: the rule, given the real images; update: how
    it takes features and indices. between: the same distance between two sets of real images.
    """

    extractor: ExtractorMaker
    metric: Callable[[Reference], Metric]
    update: Callable[[Metric, Tensor, Tensor], None]
    between: Callable[[Reference, Reference], float]


IMAGE_DISTANCES: dict[str, ImageDistance] = {
    "fid": ImageDistance(_inception, _frechet, _update_sums, _frechet_between),
    "kid": ImageDistance(_inception, _kernel, _update_indexed, _kernel_between),
    "classifier_frechet": ImageDistance(_classifier, _frechet, _update_sums, _frechet_between),
}


def image_distance(name: str) -> ImageDistance:
    """The distance called `name`. Raises FdsrError naming the known ones."""
    if name not in IMAGE_DISTANCES:
        raise FdsrError(f"there is no distance '{name}'; it must be one of {', '.join(IMAGE_DISTANCES)}")
    return IMAGE_DISTANCES[name]
