"""The classifier behind `classifier_frechet`: what its weights state, and that it is true."""

from __future__ import annotations

from importlib.resources import as_file, files

import pytest
import torch
from safetensors import safe_open

from fdsr.data.images.files import DEBIAN_FOLDER, load
from fdsr.errors import FdsrError
from fdsr.metrics.frechet import frechet_distance
from fdsr.metrics.images.features import ClassifierFeatures
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics


def stated_accuracy() -> float:
    with as_file(files("fdsr.metrics") / "weights" / "fashion_classifier.safetensors") as path:
        assert path.stat().st_size < 500_000
        with safe_open(path, "pt") as file:
            return float(file.metadata()["test_accuracy"])


def test_the_weights_state_an_accuracy_of_93_percent() -> None:
    assert stated_accuracy() >= 0.93


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_accuracy_is_the_stated_one() -> None:
    data, extractor = load(DEBIAN_FOLDER, "test"), ClassifierFeatures()
    with torch.no_grad():
        found = torch.cat([extractor.network(part[:, None]).argmax(1) for part in data.images.split(1000)])
    # another processor may round a few images to the other side
    assert float((found == data.labels).double().mean()) == pytest.approx(stated_accuracy(), abs=5e-4)


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_distance_grows_with_what_is_done_to_the_images() -> None:
    images, extractor = load(DEBIAN_FOLDER, "test").images[:, None].float(), ClassifierFeatures()
    real, other = images[:2000], images[2000:4000]

    def statistics(x: torch.Tensor) -> GaussianStatistics:
        moments = FeatureMoments(64)
        moments.update(extractor(x.round().clamp(0, 255).to(torch.uint8)))
        return moments.compute()

    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    distances = [float(frechet_distance(statistics(other + s * noise), statistics(real))) for s in (0, 4, 16, 64)]
    assert distances == sorted(distances) and distances[3] > 10 * distances[0]


def test_other_images_are_refused() -> None:
    with pytest.raises(FdsrError, match="1 × 28 × 28"):
        ClassifierFeatures()(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
