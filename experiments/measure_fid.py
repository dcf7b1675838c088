"""Measure the measuring: speed of Inception features and of the trace term, and how far the test images are from the training ones.

    python experiments/measure_fid.py throughput --fid-weights FILE      # against torch-fidelity, one thread, in turn
    python experiments/measure_fid.py trace                              # against scipy's matrix square root
    python experiments/measure_fid.py floor [--inception N [--reference N] --fid-weights FILE]

Prints lines for experiments/results/fid/README.md. Times of this thread's processor, not of the wall: other programs on the
machine disturb them less; ratios of medians, since absolute times belong to a device.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from fdsr.data.images.files import LabelledImages, download, find_folder, load
from fdsr.metrics.frechet import frechet_distance, trace_sqrt_product
from fdsr.metrics.images.features import ClassifierFeatures, FeatureExtractor
from fdsr.metrics.images.inception import InceptionFeatures, blank_network
from fdsr.metrics.images.inception_weights import load_inception_weights
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.images.reference import Reference, reference
from fdsr.metrics.moments import FeatureMoments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--fid-weights", default=None)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--images", type=int, default=16, help="images a call, for throughput")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--inception", type=int, default=0, help="images of each kind for a floor of Inception's FID")
    parser.add_argument("--reference", type=int, default=None, help="training images among them, where not as many")
    torch.set_num_threads(1)
    arguments = parser.parse_args()
    MEASUREMENTS[arguments.what](arguments)


def _images(arguments: argparse.Namespace, split: str) -> LabelledImages:
    place = "cache/fashion-mnist"
    return load(find_folder(arguments.folder, place) or download(place), split)


def in_turn(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of this thread's processor for each, called alternately."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, found in zip((first, second), seconds, strict=True):
            clock = time.thread_time()
            call()
            found.append(time.thread_time() - clock)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


@torch.no_grad()
def throughput(arguments: argparse.Namespace) -> None:
    state = load_inception_weights(arguments.fid_weights, arguments.cache)
    ours, theirs = InceptionFeatures(state), blank_network()
    theirs.load_state_dict({**theirs.state_dict(), **state})
    theirs.eval()
    images = _images(arguments, "test").images[: arguments.images, None]
    colour = images.expand(-1, 3, -1, -1).contiguous()
    a, b = theirs(colour)[0], ours(images)
    print(f"features differ by {float((a - b).norm() / a.norm()):.1e} of their norm")
    slow, fast = in_turn(lambda: theirs(colour), lambda: ours(images), arguments.repeats)
    n = len(images)
    print(f"torch-fidelity {n / slow:.2f} images/s, fdsr {n / fast:.2f} images/s, ratio {slow / fast:.2f}")


def trace(arguments: argparse.Namespace, dimension: int = 2048) -> None:
    """Two random covariances of 2048 dimensions from 3000 samples."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2):
        mix = torch.randn(dimension, dimension, generator=rng, dtype=torch.float64) / dimension**0.5
        moments = FeatureMoments(dimension)
        moments.update(torch.randn(3000, dimension, generator=rng, dtype=torch.float64) @ mix)
        found.append(moments.compute())
    values: dict[str, float] = {}

    def by_scipy() -> None:
        values["scipy"] = float(
            np.trace(scipy.linalg.sqrtm(found[0].covariance.numpy() @ found[1].covariance.numpy())).real
        )

    def by_cholesky() -> None:
        values["fdsr"] = float(trace_sqrt_product(*found))

    slow, fast = in_turn(by_scipy, by_cholesky, 1)
    difference = abs(values["scipy"] / values["fdsr"] - 1)
    print(f"scipy sqrtm {slow:.1f} s, fdsr {fast:.1f} s, ratio {slow / fast:.1f}; values differ by {difference:.1e}")


def floor(arguments: argparse.Namespace) -> None:
    train, test = _images(arguments, "train"), _images(arguments, "test")
    _floor(ClassifierFeatures(), train, test, "classifier_frechet", arguments.cache)
    if arguments.inception:
        extractor = InceptionFeatures(load_inception_weights(arguments.fid_weights, arguments.cache))
        counts = (arguments.reference or arguments.inception, arguments.inception)
        _floor(extractor, train, test, "fid", arguments.cache, counts)


def _floor(
    extractor: FeatureExtractor,
    train: LabelledImages,
    test: LabelledImages,
    name: str,
    cache: str,
    first: tuple[int | None, int | None] = (None, None),
) -> None:
    a, b = (
        reference(extractor, d.images[:n, None], d.fingerprint(), cache)
        for d, n in zip((train, test), first, strict=True)
    )
    counts = f"{int(b.statistics.n)} test images against {int(a.statistics.n)} training images"
    print(f"{name}, {counts}: {float(frechet_distance(a.statistics, b.statistics)):.6g}")
    if name == "fid":
        print(f"kid, {counts}: {_kid(a, b):.6g}")


def _kid(a: Reference, b: Reference) -> float:
    metric = KernelDistance(a.features)
    metric.update(b.features, torch.arange(len(b.features)))
    return float(metric.compute())


MEASUREMENTS = {"throughput": throughput, "trace": trace, "floor": floor}


if __name__ == "__main__":
    main()
