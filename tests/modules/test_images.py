"""Methods on images: what a checkpoint carries, and images that do not depend on how they were drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import TINY_UNET, randomise
from tiny_images import SPEC, TinyImages, make_images
from torch import Tensor

from fdsr.callbacks.evaluation_mode import evaluation_mode
from fdsr.data import PairStore
from fdsr.data.image_spec import ImageSpec
from fdsr.diffusion import (
    DDIM,
    Ancestral,
    ColouredNoise,
    Cosine,
    DPMSolverPP,
    InverseAmplitudeWeight,
    Noise,
    SpectralPreconditioning,
    SpectralWeightedLoss,
    WhiteNoise,
)
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, FourierDDPMModule, RegressionModule, load_module, save_pretrained
from fdsr.modules.image_codec import ImageCodec

MakeTrainer = Callable[..., L.Trainer]


def tiny(cls: type = DDPMModule, **arguments: Any) -> Any:
    module = cls(**({"backbone_args": TINY_UNET, "sampler": DPMSolverPP(3), "timesteps": 20} | arguments))
    module.attach(SPEC)
    randomise(module)
    return module.eval()


# -- the specification ---------------------------------------------------------------------------------------------


@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    extra=st.integers(0, 9),
)
def test_spec_round_trip_and_crop(sizes: tuple[int, int, int], extra: int) -> None:
    spec = ImageSpec(*sizes, padded=max(sizes[1:]) + extra)
    assert ImageSpec.from_dict(spec.to_dict()) == spec and not spec.differences(spec)
    codec = ImageCodec(spec)
    top, left = spec.margins
    inside = torch.rand(2, *sizes)
    padded = torch.full((2, sizes[0], spec.padded, spec.padded), -1.0)
    padded[..., top : top + sizes[1], left : left + sizes[2]] = inside
    assert torch.equal(codec.from_target(padded, codec.blank(1, torch.device("cpu"))), inside)
    # the image is in the middle, to half a pixel
    assert abs(2 * top + sizes[1] - spec.padded) <= 1 and abs(2 * left + sizes[2] - spec.padded) <= 1


@pytest.mark.parametrize("sizes", [(0, 8, 8, 8), (1, 9, 8, 8), (1, 8, 9, 8)])
def test_impossible_sizes(sizes: tuple[int, ...]) -> None:
    with pytest.raises(FdsrError, match="do not fit"):
        ImageSpec(*sizes)


def test_other_images_are_refused_in_one_line(store: PairStore) -> None:
    with pytest.raises(FdsrError, match="height 6 against 5; use those it was trained on") as caught:
        SPEC.require_same(ImageSpec(1, 5, 6, 8), "folder")
    assert "\n" not in str(caught.value)
    saved: dict[str, Any] = {}
    tiny().on_save_checkpoint(saved)
    module = DDPMModule(backbone_args=TINY_UNET)
    module.attach(store.spec)
    with pytest.raises(FdsrError, match="trained on images, the data are fields"):
        module.on_load_checkpoint(saved)
    saved["fdsr_spec_kind"] = "sounds"
    with pytest.raises(FdsrError, match="kind 'sounds'"):
        module.on_load_checkpoint(saved)


def test_methods_that_need_a_field_refuse_images(store: PairStore) -> None:
    with pytest.raises(FdsrError, match="RegressionModule was given images"):
        RegressionModule(backbone_args=TINY_UNET | {"time_embedding": False}).attach(SPEC)
    inverse = DDPMModule(backbone_args=TINY_UNET, loss=SpectralWeightedLoss(InverseAmplitudeWeight()))
    for asking in (FourierDDPMModule(backbone_args=TINY_UNET), inverse):
        with pytest.raises(FdsrError, match="no climatological spectrum"):
            asking.attach(SPEC)
    module = DDPMModule(backbone_args=TINY_UNET)
    module.attach(store.spec)
    with pytest.raises(FdsrError, match="not images"):
        module.sample_images([0], 0)


@pytest.fixture
def measured_spec() -> ImageSpec:
    """SPEC with the statistics of its images, that of the margin included."""
    images = make_images(400)[0].double()
    mean = images.mean(0)
    variance = (images - mean).square().mean((0, 2, 3))
    power = Cosine().forward(images - mean).square().mean(0) / variance[:, None, None]
    return replace(SPEC, mean=mean.float(), variance=variance.float(), power=power.float())


def test_a_silent_network_draws_from_the_gaussian_of_the_images(measured_spec: ImageSpec) -> None:
    """Twelve steps: the training images' mean, to a twentieth, and their power, to .4 dB."""
    module = DDPMModule(
        backbone_args=TINY_UNET, precondition=SpectralPreconditioning(), transform=Cosine(), sampler=DPMSolverPP(12)
    )
    module.attach(measured_spec)
    spectrum, steps = module.process.spectrum, DPMSolverPP(12)
    mean, variance = measured_spec.mean, spectrum.prior((8, 8))
    assert mean is not None and float(variance.mean()) == pytest.approx(float(measured_spec.variance), rel=0.01)  # type: ignore[arg-type]

    def drawn(noise: Tensor) -> Tensor:
        predict = module.predictor(torch.zeros(1, 0, 8, 8))
        denoise = lambda x, t: module.parametrisation.to_x_0(module.process, predict(x, t), x, t)  # noqa: E731
        with torch.no_grad():
            return steps(denoise, lambda: noise, module.process)

    centre, unit = drawn(torch.zeros(1, 1, 8, 8)), drawn(Cosine().inverse(torch.ones(1, 1, 8, 8)))
    torch.testing.assert_close(centre[0], mean, rtol=0, atol=0.05)
    power = Cosine().forward(unit - centre).square().double()
    # of the weakest, flat images' deviations from flatness, the last step leaves its own noise
    strong = variance[None] > 0.003
    assert float((10 * torch.log10(power / variance))[strong].abs().max()) < 0.4 and float(strong.double().mean()) > 0.5
    # what is known of the images stands where the network would have to find it: plain v-prediction draws noise about 0
    plain = DDPMModule(backbone_args=TINY_UNET)
    plain.attach(measured_spec)
    assert float(mean.mean()) < -0.4 and float(centre.mean()) == pytest.approx(float(mean.mean()), abs=0.02)


@pytest.mark.parametrize("noise", [WhiteNoise(), ColouredNoise()], ids=repr)
def test_statistics_travel_with_the_model(measured_spec: ImageSpec, noise: Noise, tmp_path: Path) -> None:
    module = DDPMModule(
        backbone_args=TINY_UNET, precondition=SpectralPreconditioning(), noise=noise, transform=Cosine(),
        sampler=DPMSolverPP(3), timesteps=20,
    )  # fmt: skip
    module.attach(measured_spec)
    randomise(module)
    module.eval()
    save_pretrained(module, tmp_path / "model")
    again = load_module(tmp_path / "model")
    assert not again.spec.differences(measured_spec)
    assert torch.equal(again.sample_images([0, 1], 3), module.sample_images([0, 1], 3))  # type: ignore[operator]
    with pytest.raises(FdsrError, match=r"data.spectrum True against False"):
        again.spec.require_same(SPEC, "folder")
    other = replace(measured_spec, mean=measured_spec.mean + 0.1)  # type: ignore[operator]
    with pytest.raises(FdsrError, match="mean and variance of other training images"):
        again.spec.require_same(other, "folder")


# -- drawing ---------------------------------------------------------------------------------------------------------

each_method = pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (DDPMModule, {}),
        (DDPMModule, {"sampler": Ancestral(), "prediction": "eps"}),
        (DDPMModule, {"loss": SpectralWeightedLoss(), "sampler": DDIM(3)}),
    ],
)


@each_method
def test_images_do_not_depend_on_batching(cls: type, arguments: dict[str, Any]) -> None:
    module = tiny(cls, **arguments, member_batch=8)
    images = module.sample_images(range(6), 5)
    assert images.shape == (6, 1, 6, 6) and images.dtype == torch.float32
    assert images.abs().max() <= 1 and images.std(0).min() > 1e-3
    for size in (1, 4):
        module.member_batch = size
        torch.manual_seed(size)
        torch.testing.assert_close(module.sample_images(range(6), 5), images, rtol=1e-4, atol=1e-4)
    # any process may draw any of them, in any order
    torch.testing.assert_close(module.sample_images([4, 1], 5), images[[4, 1]], rtol=1e-4, atol=1e-4)
    assert (module.sample_images([0], 6) - images[:1]).abs().max() > 1e-2
    assert module.sample_images([], 5).shape == (0, 1, 6, 6)


def test_drawing_in_training_is_drawing_in_evaluation() -> None:
    module = tiny(backbone_args=TINY_UNET | {"dropout": 0.5})
    images = module.sample_images([0, 1], 0)
    module.train()
    assert torch.equal(module.sample_images([0, 1], 0), images) and module.training


def test_every_estimate_is_cut_to_the_range() -> None:
    module = tiny(sampler=Ancestral())
    randomise(module, 3.0)  # a wild network
    seen: list[float] = []
    posterior = module.process.posterior
    module.process.posterior = lambda x_0, *rest: (seen.append(float(x_0.abs().max())), posterior(x_0, *rest))[1]
    module.sample_images([0, 1], 0)
    assert len(seen) == 20 and max(seen) == 1.0


def test_what_is_measured_is_drawn_in_float32(quiet_trainer: MakeTrainer) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, timesteps=2, sampler=DPMSolverPP(2), warmup_steps=0)
    drawn: list[Tensor] = []

    class Measuring(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
            with evaluation_mode(trainer, pl_module):
                drawn.append(module.sample_images([3], 1))

    trainer = quiet_trainer(max_steps=1, precision="bf16-mixed", callbacks=[Measuring()], limit_val_batches=0)
    trainer.fit(module, datamodule=TinyImages())
    assert torch.equal(drawn[0], module.sample_images([3], 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(drawn[0], module.sample_images([3], 1))


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timesteps", [1, 2, 1000])
def test_trains_tests_and_loads(quiet_trainer: MakeTrainer, tmp_path: Path, timesteps: int) -> None:
    module = DDPMModule(
        backbone_args=TINY_UNET, timesteps=timesteps, sampler=DPMSolverPP(min(2, timesteps)), warmup_steps=0
    )
    trainer = quiet_trainer(max_steps=3, precision="bf16-mixed")
    trainer.fit(module, datamodule=TinyImages())
    assert float(trainer.callback_metrics["train_loss"]) > 0
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.test(module, datamodule=TinyImages(), verbose=False)
    for path in (tmp_path / "a.ckpt", save_pretrained(module, tmp_path / "folder")):
        loaded = load_module(path)
        assert loaded.spec == SPEC
        assert torch.equal(loaded.sample_images([3], 1), load_module(tmp_path / "a.ckpt").sample_images([3], 1))
    with pytest.raises(FdsrError, match="padded 8 against 16"):
        other = TinyImages()
        other.spec = ImageSpec(1, 6, 6, 16)
        quiet_trainer(max_steps=4).fit(
            DDPMModule(backbone_args=TINY_UNET), datamodule=other, ckpt_path=tmp_path / "a.ckpt", weights_only=True
        )
    with pytest.raises(FdsrError, match="padded 8 against 16"):
        quiet_trainer().test(load_module(tmp_path / "a.ckpt"), datamodule=other, verbose=False)


@pytest.mark.slow
def test_learns_the_four_corners(quiet_trainer: MakeTrainer) -> None:
    """After some hundred steps nearly every image is one bright block on a dark ground, and all corners occur."""
    module = DDPMModule(
        backbone_args=TINY_UNET | {"width": 16}, timesteps=50, sampler=Ancestral(), lr=3e-3, member_batch=64
    )
    quiet_trainer(max_steps=600, limit_val_batches=0).fit(module, datamodule=TinyImages(count=256, batch_size=32))
    images = module.sample_images(range(64), 0)
    blocks = images.reshape(64, 2, 3, 2, 3).mean((2, 4)).flatten(1)  # (64, four corners)
    assert make_images(64)[0][:, 0, 1:7, 1:7].reshape(64, 2, 3, 2, 3).mean((2, 4)).amax() > 0.6
    clean = (blocks.amax(1) > 0.5) & (blocks.sort(1).values[:, 2] < -0.7)
    assert clean.float().mean() > 0.8
    assert blocks.argmax(1)[clean].unique().numel() == 4
