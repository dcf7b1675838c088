"""The distances between sets of images, by name: what they say, of which features, and by which rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torchmetrics import Metric

from fdsr.metrics.frechet import FrechetDistance
from fdsr.metrics.images.features import ClassifierFeatures, FeatureExtractor
from fdsr.metrics.images.inception import InceptionFeatures
from fdsr.metrics.images.inception_weights import load_inception_weights
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.images.reference import Reference
from fdsr.scores import CLASSIFIER_FRECHET, FID, KID, Score


def _inception(weights: str | Path | None, cache: str | Path) -> FeatureExtractor:
    return InceptionFeatures(load_inception_weights(weights, cache))


def _frechet(reference: Reference) -> Metric:
    return FrechetDistance(reference.statistics)


@dataclass(frozen=True)
class ImageDistance:
    """A distance of generated to real images.

    score: what there is to know of it. extractor: makes the features' network from (fid_weights, cache). metric: the rule,
    given the real images; its `update` takes features and their images' indices.
    """

    score: Score
    extractor: Callable[[str | Path | None, str | Path], FeatureExtractor]
    metric: Callable[[Reference], Metric]


_DISTANCES = (
    ImageDistance(FID, _inception, _frechet),
    ImageDistance(KID, _inception, lambda reference: KernelDistance(reference.features)),
    ImageDistance(CLASSIFIER_FRECHET, lambda weights, cache: ClassifierFeatures(), _frechet),
)
IMAGE_DISTANCES = {distance.score.name: distance for distance in _DISTANCES}
