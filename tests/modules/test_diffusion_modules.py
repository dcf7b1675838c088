"""DDPM and Fourier modules: losses from a seed, and ensembles that do not depend on how they were computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from synthetic import TINY_UNET
from torch import Tensor

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.diffusion import (
    DDIM,
    Ancestral,
    ColouredNoise,
    Cosine,
    Denoising,
    DPMSolverPP,
    FourierReferenceLoss,
    Globe,
    Haar,
    Loss,
    Noise,
    RealFourier,
    RobustSpectralLoss,
    SignalTimes,
    SimpleLoss,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    Transform,
    WhitenedLoss,
    WhiteNoise,
)
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DownscalingModule

Build = Callable[..., DownscalingModule]
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("DDPMModule", {}),
    ("DDPMModule", {"sampler": Ancestral(2), "prediction": "eps"}),
    ("DDPMModule", {"loss": FourierReferenceLoss()}),
    ("DDPMModule", {"loss": SpectralWeightedLoss(), "times": SignalTimes()}),
    ("FourierDDPMModule", {}),
]
methods = pytest.mark.parametrize(
    ("name", "arguments"), METHODS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def patches(data: WeatherDataModule) -> WeatherBatch:
    return cast(WeatherBatch, next(iter(data.train_dataloader())))


@methods
def test_loss_comes_from_its_generator_alone(
    build: Build, patches: WeatherBatch, name: str, arguments: dict[str, Any]
) -> None:
    module = build(name, **arguments)
    loss = module.loss(patches, seeded(0))
    first = loss.detach()
    torch.manual_seed(99)
    assert torch.equal(module.loss(patches, seeded(0)), first)
    assert not torch.equal(module.loss(patches, seeded(1)), first)
    assert first.ndim == 0 and 0.1 < float(first) < 10
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@methods
def test_ensemble_does_not_depend_on_batching(
    build: Build, field_batch: WeatherBatch, name: str, arguments: dict[str, Any]
) -> None:
    module = build(name, **arguments, member_batch=6)
    together = module.generate(field_batch, 3, 7)
    assert together.shape == (2, 3, 2, 24, 48)
    torch.manual_seed(99)
    for size in (1, 2, 4):
        module.member_batch = size
        torch.testing.assert_close(module.generate(field_batch, 3, 7), together, rtol=1e-5, atol=1e-3)
    for i in (0, 1):
        alone = cast(WeatherBatch, {k: v[i : i + 1] for k, v in field_batch.items()})
        torch.testing.assert_close(module.generate(alone, 3, 7), together[i : i + 1], rtol=1e-5, atol=1e-3)
    # a larger ensemble begins with the smaller one
    torch.testing.assert_close(module.generate(field_batch, 2, 7), together[:, :2], rtol=1e-5, atol=1e-3)


@methods
def test_members_seeds_and_times_differ(
    build: Build, field_batch: WeatherBatch, name: str, arguments: dict[str, Any]
) -> None:
    module = build(name, **arguments)
    same = cast(WeatherBatch, {k: v[[0, 0]] for k, v in field_batch.items()})
    same["time"] = field_batch["time"]  # one coarse field at two times: the noise alone may tell them apart
    a = module.generate(same, 3, 7)
    b = module.generate(same, 3, 8)
    fields = [a[0, 0], a[0, 1], a[0, 2], a[1, 0], b[0, 0]]
    deviation = a[0].std(0).mean()
    assert deviation > 0.01
    for i, x in enumerate(fields):
        for y in fields[:i]:
            assert (x - y).abs().mean() > 0.1 * deviation


LOSSES = [FourierReferenceLoss(), SpectralWeightedLoss(), RobustSpectralLoss(), SpectrumNormLoss(), WhitenedLoss()]


@pytest.mark.parametrize("noise", [WhiteNoise(), ColouredNoise()], ids=repr)
@pytest.mark.parametrize("transform", [RealFourier(), Cosine(), Haar(), Globe()], ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_every_loss_takes_every_noise_and_transform(
    build: Build, patches: WeatherBatch, loss: Loss, noise: Noise, transform: Transform
) -> None:
    assert build("DDPMModule", loss=loss, noise=noise, transform=transform).loss(patches, seeded(0)).isfinite()


@pytest.mark.parametrize(
    ("loss", "rows"), [(SimpleLoss(), 4), (SpectralWeightedLoss(), 4), (FourierReferenceLoss(), 8), (SimpleLoss(3), 12)]
)
def test_what_a_loss_costs(build: Build, patches: WeatherBatch, loss: Loss, rows: int) -> None:
    """The reference loss asks the network for two noisy copies of every sample, more draws for as many."""
    module = build("FourierDDPMModule", loss=loss)
    seen: list[tuple[int, Tensor]] = []
    module.network.register_forward_pre_hook(lambda _, args: seen.append((args[0].shape[0], args[1])))
    module.loss(patches, seeded(0))
    assert sum(n for n, _ in seen) == rows
    assert all(((t > 0) & (t <= 1000)).all() for _, t in seen)


def test_the_network_is_asked_as_often_as_promised(build: Build, field_batch: WeatherBatch) -> None:
    module = build("DDPMModule", sampler=DPMSolverPP(5), member_batch=8)
    calls: list[int] = []
    module.network.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[0]))
    module.generate(field_batch, 2, 0)
    assert calls == [4] * 5 and module.evaluations_per_member == 5


def test_initial_weights_do_not_depend_on_what_ran_before(store: PairStore) -> None:
    states = []
    for before in (1, 2):
        torch.manual_seed(before)
        module = DDPMModule(backbone_args=TINY_UNET)
        module.attach(store.spec)
        states.append(module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": "cubic"}, r"model\.schedule 'cubic' is unknown.*vp, linear, cosine"),
        ({"prediction": "u"}, r"model\.prediction 'u' is unknown.*eps, x0, v"),
        ({"reverse_variance": "large"}, "reverse_variance.*posterior"),
        ({"backbone": "resnet"}, "unet"),
        ({"backbone_args": {"wdith": 8}}, "wdith"),
        ({"timesteps": 0}, "T >= 1"),
        ({"timesteps": 8}, r"steps must lie in 1\.\.T = 8, not 12"),
        ({"sampler": Ancestral(steps=0)}, r"steps must lie in 1\.\.T = 1000, not 0"),
        ({"sampler": DDIM(spacing=cast(Any, "karras"))}, "spacing must be one of uniform, quadratic, logsnr"),
    ],
)
def test_bad_settings_are_refused_when_the_module_is_built(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words) as caught:
        DDPMModule(**arguments)
    assert "\n" not in str(caught.value)


def test_what_a_backbone_refuses_is_refused_with_the_grid(store: PairStore) -> None:
    with pytest.raises(FdsrError, match="width"):
        DDPMModule(backbone_args={"width": 0}).attach(store.spec)


@pytest.mark.parametrize("times", [{}, {"times": SignalTimes(1.0)}, {"timesteps": 4}], ids=str)
def test_validation_measures_a_fixed_grid_of_times(
    build: Build,
    field_batch: WeatherBatch,
    quiet_trainer: Callable[..., Any],
    data: WeatherDataModule,
    times: dict[str, Any],
) -> None:
    """Eight times of every field, the same for every seed and sampling of times; the mean of what each would say alone."""
    seen: list[int] = []

    class Watching(SimpleLoss):
        def __call__(self, task: Denoising) -> Tensor:
            seen.extend(task.t.tolist())
            return super().__call__(task)

    module = cast(DDPMModule, build("DDPMModule", **times))
    module.objective = Watching()
    found = module.validation_loss(field_batch, seeded(5))
    step = module.schedule.T / 8
    expected = [1 + int(step * (i + 0.5)) for i in range(8)]
    assert seen == [t for t in expected for _ in range(2)]
    task, weight = module.task(field_batch, seeded(5))
    alone = [SimpleLoss()(replace(task, t=torch.full_like(task.t, t))) for t in expected]
    torch.testing.assert_close(found, torch.stack(alone).mean() * weight)

    losses = []
    for seed in (0, 1):
        module.seed = seed
        losses.append(quiet_trainer().validate(module, data, verbose=False)[0]["val_loss"])
    assert losses[0] == losses[1]
