"""Few-step methods that begin from a trained DDPM: at first they are that DDPM, and one that does not fit is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import TINY_DDGAN, TINY_UNET, randomise
from tiny_images import SPEC, TinyImages
from torch import Tensor

from fdsr.backbones import build_backbone, build_discriminator
from fdsr.backbones.unet_encoder import UNetEncoder
from fdsr.data import WeatherDataModule
from fdsr.diffusion import Cosine, ScalarPreconditioning, SpectralPreconditioning, Step
from fdsr.errors import FdsrError
from fdsr.modules import ConsistencyModule, DDGANModule, DDPMModule, LevelPairDDGANModule, save_pretrained
from fdsr.modules.generative import Targets

MakeTrainer = Callable[..., L.Trainer]
ENCODER = {"discriminator": "unet_encoder", "discriminator_args": TINY_UNET, "discriminator_from_ddpm": True}


def ddpm(**arguments: Any) -> DDPMModule:
    module = DDPMModule(**({"backbone_args": TINY_UNET, "timesteps": 1000} | arguments))
    module.attach(SPEC)
    randomise(module)
    return module.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[DDPMModule, str]:
    module = ddpm()
    return module, str(save_pretrained(module, tmp_path_factory.mktemp("ddpm") / "model"))


def begun(cls: type[DDGANModule], path: str, make: MakeTrainer, **arguments: Any) -> DDGANModule:
    """As it is when training begins: a fit of one step at no rate."""
    still = {"lr": 0.0, "discriminator_lr": 0.0} if issubclass(cls, DDGANModule) else {"lr": 0.0}
    module = cls(**(TINY_DDGAN | {"prediction": "v", "from_ddpm": path, **still} | arguments))
    make(max_steps=1, limit_val_batches=0).fit(module, datamodule=TinyImages())
    return module.eval()


@pytest.mark.parametrize("cls", [DDGANModule, LevelPairDDGANModule])
@pytest.mark.parametrize("T", [1, 4])
def test_the_generator_begins_as_the_ddpms_estimate(
    cls: type[DDGANModule], T: int, trained: tuple[DDPMModule, str], quiet_trainer: MakeTrainer
) -> None:
    """At every level of its own, whatever z is; and it is no longer so after training, in which z comes to matter."""
    teacher, path = trained
    module = begun(cls, path, quiet_trainer, timesteps=T)
    stride, condition = module.schedule.T // T, torch.zeros(3, 0, 8, 8)
    for k in range(1, T + 1):
        x_t, t = torch.randn(3, 1, 8, 8), torch.full((3,), k * stride)
        theirs = torch.full((3,), 1000 * k // T)
        with torch.no_grad():
            output = teacher.predictor(condition)(x_t, theirs)
            expected = teacher.parametrisation.to_x_0(teacher.process, output, x_t, theirs)
            ours = [module.predict(x_t, Step(t, t - stride), torch.randn(3, 4), condition) for _ in range(2)]
        assert expected.abs().max() > 0.1
        for x_0 in ours:
            torch.testing.assert_close(x_0, expected, rtol=1e-4, atol=1e-4)


def test_an_x0_of_images_is_another_one_here(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    path = str(save_pretrained(ddpm(prediction="x0"), tmp_path / "model"))
    with pytest.raises(FdsrError, match="passes through tanh here and did not in the DDPM; use prediction v or eps"):
        begun(DDGANModule, path, quiet_trainer, prediction="x0")


def test_it_learns_from_there_and_goes_on_from_its_own_checkpoint(
    trained: tuple[DDPMModule, str], quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    path = trained[1]
    module = DDGANModule(**(TINY_DDGAN | {"prediction": "v", "from_ddpm": path, "lr": 1e-2} | ENCODER))
    trainer = quiet_trainer(max_steps=4, limit_val_batches=0)
    trainer.fit(module, datamodule=TinyImages())
    x_t, step = torch.randn(1, 1, 8, 8).expand(2, -1, -1, -1), Step(torch.tensor([1, 1]), torch.tensor([0, 0]))
    with torch.no_grad():
        first, second = module.predict(x_t, step, torch.randn(2, 4), torch.zeros(2, 0, 8, 8))
    assert (first - second).abs().max() > 1e-5, "z has no effect"
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed = DDGANModule(**(TINY_DDGAN | {"prediction": "v", "from_ddpm": path} | ENCODER))
    resuming = quiet_trainer(max_steps=4, limit_val_batches=0)
    resuming.fit(resumed, datamodule=TinyImages(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("cls", [DDGANModule, LevelPairDDGANModule])
def test_the_discriminator_begins_as_the_ddpms_encoder(
    cls: type[DDGANModule], trained: tuple[DDPMModule, str], quiet_trainer: MakeTrainer
) -> None:
    teacher, path = trained
    critic = begun(cls, path, quiet_trainer, **ENCODER).discriminator
    assert isinstance(critic, UNetEncoder)
    further = 1 if cls is LevelPairDDGANModule else 0
    x, other = torch.randn(2, 1, 8, 8), torch.randn(2, 1 + further, 8, 8)
    network: Any = teacher.network
    embedding = torch.nn.functional.silu(network.embed(torch.tensor([3.0, 500.0]), 2))
    with torch.no_grad():
        expected, _ = network.encode(x, embedding, False)
        found, _ = critic.encoder.encode(torch.cat([x, other], 1), embedding, False)
    torch.testing.assert_close(found, expected)


def test_conditions_find_their_place_in_the_stem() -> None:
    """(x_t, condition) of a denoiser in (x_s, x_t, condition, further) of a discriminator, in patches of 2 × 2."""
    settings: dict[str, Any] = TINY_UNET | {"patch_size": 2}
    denoiser: Any = build_backbone("unet", in_channels=2 + 3, out_channels=2, **settings)
    critic: Any = build_discriminator("unet_encoder", in_channels=2 + 2 + 3 + 1, **settings)
    critic.begin_from(denoiser.state_dict(), 2)
    x, other, condition, further = (torch.randn(2, n, 8, 8) for n in (2, 2, 3, 1))
    embedding = torch.randn(2, 32)
    with torch.no_grad():
        expected, _ = denoiser.encode(torch.cat([x, condition], 1), embedding, False)
        found, _ = critic.encoder.encode(torch.cat([x, other, condition, further], 1), embedding, False)
    torch.testing.assert_close(found, expected)


def test_fields_too(
    trained_fields: tuple[DDPMModule, str], data: WeatherDataModule, quiet_trainer: MakeTrainer
) -> None:
    teacher, path = trained_fields
    module = LevelPairDDGANModule(**(TINY_DDGAN | ENCODER | {"prediction": "v", "from_ddpm": path, "lr": 0.0}))
    quiet_trainer(max_steps=2, limit_val_batches=1, val_check_interval=1).fit(module, datamodule=data)
    x_t, condition = torch.randn(2, 2, 8, 16), torch.randn(2, module.codec.condition_channels, 8, 16)
    t = torch.tensor([module.schedule.T, module.schedule.T // 2])
    with torch.no_grad():
        ours = module.predict(x_t, Step(t, t // 2), torch.randn(2, 4), condition)
        theirs = torch.tensor([1000, 500])
        output = teacher.predictor(condition)(x_t, theirs)
        expected = teacher.parametrisation.to_x_0(teacher.process, output, x_t, theirs)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def trained_fields(data: WeatherDataModule, tmp_path: Path) -> tuple[DDPMModule, str]:
    module = DDPMModule(backbone_args=TINY_UNET)
    module.attach(data.spec)
    randomise(module)
    return module.eval(), str(save_pretrained(module, tmp_path / "fields"))


def test_the_reconstruction_is_added_to_the_generators_loss(trained: tuple[DDPMModule, str]) -> None:
    losses = {}
    x_0 = next(iter(TinyImages().train_dataloader()))["image"]
    for weight in (0.0, 3.0):
        module = DDGANModule(**(TINY_DDGAN | {"prediction": "v", "reconstruction": weight, "latent_dim": 0}))
        module.attach(SPEC)
        randomise(module)
        errors: list[Tensor] = []
        predict = module.predict

        def watched(*args: Any, predict: Any = predict, errors: list[Tensor] = errors) -> Tensor:
            errors.append((predict(*args) - x_0).square().mean())
            return predict(*args)

        module.predict = watched  # type: ignore[method-assign]
        losses[weight] = module.generator_loss(Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0))
        assert len(errors) == 1
    torch.testing.assert_close(losses[3.0] - losses[0.0], 3 * errors[0])


@pytest.mark.parametrize(
    ("teacher", "arguments", "words"),
    [
        ({}, {"backbone_args": TINY_UNET | {"width": 16}}, "width 8 against 16; make them the same"),
        ({}, {"backbone_args": TINY_UNET | {"blocks": 2}}, "blocks 1 against 2"),
        ({}, {"backbone": "dit", "backbone_args": {"width": 16, "depth": 1}}, "backbone unet against dit"),
        ({}, {"prediction": "x0"}, "prediction v against x0"),
        ({"schedule": "cosine"}, {}, "schedule cosine against vp"),
        ({"precondition": ScalarPreconditioning()}, {}, "precondition ScalarPreconditioning"),
        ({}, ENCODER | {"discriminator_args": TINY_UNET | {"blocks": 2}}, "discriminator_args are not .*: blocks 1 against 2"),
        ({}, {"discriminator_from_ddpm": True}, "needs discriminator 'unet_encoder'"),
    ],
)  # fmt: skip
def test_a_ddpm_that_does_not_fit_is_refused(
    teacher: dict[str, Any], arguments: dict[str, Any], words: str, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    path = save_pretrained(ddpm(**teacher), tmp_path / "ddpm")
    module = DDGANModule(**(TINY_DDGAN | {"prediction": "v", "from_ddpm": str(path)} | arguments))
    with pytest.raises(FdsrError, match=words) as caught:
        quiet_trainer(max_steps=1).fit(module, datamodule=TinyImages())
    assert "\n" not in str(caught.value)


def test_a_spectrum_in_another_basis_is_refused(
    data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """What a network is spared is another function then."""
    told: dict[str, Any] = {"backbone_args": TINY_UNET, "precondition": SpectralPreconditioning()}
    teacher = DDPMModule(transform=Cosine(), **told)
    teacher.attach(data.spec)
    path = str(save_pretrained(teacher, tmp_path / "ddpm"))
    with pytest.raises(FdsrError, match=r"transform Cosine.* against RealFourier"):
        quiet_trainer(max_steps=1).fit(ConsistencyModule(from_ddpm=path, **told), datamodule=data)


def test_a_model_folder_goes_before_the_ddpm(
    trained: tuple[DDPMModule, str], quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = DDGANModule(**(TINY_DDGAN | {"prediction": "v", "from_ddpm": trained[1], "lr": 0.0}))
    module.attach(SPEC)
    randomise(module)
    own = {name: value.clone() for name, value in module.network.state_dict().items()}
    module.adopted = True
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=TinyImages())
    assert all(torch.equal(value, own[name]) for name, value in module.network.state_dict().items())


def test_what_is_no_ddpm_or_of_other_data_is_refused(
    trained: tuple[DDPMModule, str], data: WeatherDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    gan = DDGANModule(**TINY_DDGAN)
    gan.attach(SPEC)
    path = save_pretrained(gan, tmp_path / "gan")
    for ckpt, source, words in (
        (str(path), TinyImages(), "holds a DDGANModule; give one that DDPMModule wrote"),
        (trained[1], data, "was trained on images, the data are fields"),
        (str(tmp_path / "none.ckpt"), TinyImages(), "does not exist"),
    ):
        for cls, own in ((DDGANModule, TINY_DDGAN), (ConsistencyModule, {"backbone_args": TINY_UNET})):
            module = cls(**(own | {"prediction": "v", "from_ddpm": ckpt}))  # type: ignore[arg-type]
            with pytest.raises(FdsrError, match=words):
                quiet_trainer(max_steps=1).fit(module, datamodule=source)
    with pytest.raises(FdsrError, match=r"discriminator_from_ddpm needs model\.from_ddpm"):
        DDGANModule(**(TINY_DDGAN | {"discriminator_from_ddpm": True}))
