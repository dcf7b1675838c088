"""DDGAN: what a training step touches, when the penalty is due, resumption, and samples seeded one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from synthetic import TINY_DDGAN, TINY_UNET, randomise
from tiny_images import SPEC, TinyImages, make_images
from torch import Tensor

import fdsr.modules.ddgan
from fdsr.callbacks import EMACallback
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.diffusion import DIVERGENCES, Step
from fdsr.errors import FdsrError
from fdsr.modules import DDGANModule, DownscalingModule, LevelPairDDGANModule, load_module
from fdsr.modules.generative import Targets

Build = Callable[..., DownscalingModule]
MakeTrainer = Callable[..., L.Trainer]


def tiny(**arguments: Any) -> DDGANModule:
    module = DDGANModule(**(TINY_DDGAN | arguments))
    module.attach(SPEC)
    randomise(module)
    return module


def image_batch(count: int = 8) -> dict[str, Tensor]:
    images, corner = make_images(count)
    return {"image": images, "index": torch.arange(count), "label": corner}


def state(network: torch.nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


class Watch(L.Callback):
    """Weights of both networks around every update, and the loss that each update was given."""

    def __init__(self, module: DDGANModule) -> None:
        self.updates: list[
            tuple[str, float, bool, bool]
        ] = []  # network, loss, generator changed, discriminator changed
        update = module._update

        def watched(optimizer: Any, loss: Tensor) -> None:
            before = state(module.network), state(module.discriminator)
            update(optimizer, loss)
            changed = [
                not same(b, n.state_dict()) for b, n in zip(before, (module.network, module.discriminator), strict=True)
            ]
            owner = (
                "generator" if optimizer.param_groups[0]["params"][0] is next(module.network.parameters()) else "critic"
            )
            self.updates.append((owner, float(loss.detach()), changed[0], changed[1]))

        module._update = watched  # type: ignore[method-assign]


@pytest.mark.parametrize("every", [1, 3])
def test_penalty_is_added_only_when_due_and_not_scaled(
    quiet_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    module = tiny(r1_every=every, r1_gamma=0.7, drift=0.0)
    seen: list[tuple[int, float]] = []
    original = fdsr.modules.ddgan.r1_penalty

    def penalty(v: Tensor, x: Tensor) -> Tensor:
        value = original(v, x)
        seen.append((module.trainer.fit_loop.total_batch_idx, float(value.detach())))
        return value

    monkeypatch.setattr(fdsr.modules.ddgan, "r1_penalty", penalty)
    watch = Watch(module)
    logged: list[dict[str, float]] = []

    class Log(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
            logged.append({k: float(v) for k, v in outputs.items()})

    quiet_trainer(max_steps=7, limit_val_batches=0, callbacks=[Log()]).fit(module, datamodule=TinyImages())
    assert [step for step, _ in seen] == list(range(0, 7, every))
    penalties = dict(seen)
    critic = [loss for owner, loss, *_ in watch.updates if owner == "critic"]
    for step in range(7):
        expected = logged[step]["d_loss"] + 0.5 * 0.7 * penalties.get(step, 0.0)
        assert critic[step] == pytest.approx(expected, rel=1e-5)
    assert min(penalties.values()) > 0


def test_each_update_moves_its_own_network(quiet_trainer: MakeTrainer) -> None:
    module = tiny(r1_every=1)
    watch = Watch(module)
    trainer = quiet_trainer(max_steps=3, limit_val_batches=0)
    trainer.fit(module, datamodule=TinyImages())
    assert [(owner, g, d) for owner, _, g, d in watch.updates] == 3 * [
        ("critic", False, True),
        ("generator", True, False),
    ]
    # a step of the trainer is one update of the generator, whatever the discriminator does
    assert trainer.global_step == 3


def test_the_discriminators_step_builds_no_graph_of_the_generator() -> None:
    module = tiny()
    graphs: list[bool] = []
    module.network.register_forward_hook(lambda _, args, output: graphs.append(output.requires_grad))
    x_0 = image_batch()["image"]
    loss, penalty, _ = module.discriminator_loss(
        Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0), penalised=True
    )
    (loss + penalty).backward()
    assert graphs == [False]
    assert all(p.grad is None for p in module.network.parameters())
    assert all(p.grad is not None for p in module.discriminator.parameters())
    module.generator_loss(Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0)).backward()
    assert graphs == [False, True]
    assert all(p.grad is not None and p.grad.any() for p in module.network.parameters())


def test_average_is_of_the_generator_alone(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    module, ema = tiny(lr=1e-2, discriminator_lr=1e-2), EMACallback(0.9)
    raw = [state(module.network)]

    class History(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            raw.append(state(module.network))

    trainer = quiet_trainer(max_steps=4, limit_val_batches=0, callbacks=[ema, History()])
    trainer.fit(module, datamodule=TinyImages())
    assert ema.updates == 4 and {k.split(".")[0] for k in ema.average} == {"network"}
    expected = raw[0]
    for n, weights in enumerate(raw[1:], 1):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = {k: decay * expected[k] + (1 - decay) * weights[k] for k in expected}
    for k, v in expected.items():
        torch.testing.assert_close(ema.average[f"network.{k}"], v, rtol=1e-4, atol=1e-6)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = cast(DDGANModule, load_module(tmp_path / "a.ckpt"))
    assert same({k.removeprefix("network."): v for k, v in ema.average.items()}, loaded.network.state_dict())
    assert same(module.discriminator.state_dict(), loaded.discriminator.state_dict())


@pytest.mark.parametrize("divergence", list(DIVERGENCES))
@pytest.mark.parametrize("saturating", [None, True, False])
def test_losses_are_those_of_the_divergence(divergence: str, saturating: bool | None) -> None:
    module = tiny(divergence=divergence, saturating=saturating)
    scored: list[Tensor] = []
    judge = module.judge
    module.judge = lambda *args: (scored.append(judge(*args)), scored[-1])[1]  # type: ignore[method-assign]
    x_0 = image_batch()["image"]
    loss, _, facts = module.discriminator_loss(
        Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0), penalised=False
    )
    generator_loss = module.generator_loss(Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(1))
    real, fake, again = scored
    row = DIVERGENCES[divergence]
    torch.testing.assert_close(loss, row.conjugate_g(fake).mean() - row.g(real).mean())
    literal = row.conjugate_g if (row.saturating if saturating is None else saturating) else row.g
    torch.testing.assert_close(generator_loss, -literal(again).mean())
    assert 0 <= float(facts["d_accuracy"]) <= 1 and float(facts["d_spread"]) > 0


@pytest.mark.parametrize("divergence", list(DIVERGENCES))
@pytest.mark.parametrize("bias", [-50.0, 0.0, 50.0])
def test_gradients_are_finite_far_out_in_half_precision(divergence: str, bias: float) -> None:
    module = tiny(divergence=divergence)
    with torch.no_grad():
        module.discriminator.head.bias.fill_(bias)  # type: ignore[union-attr, operator]
    x_0 = image_batch()["image"]
    for penalised in (True, False):
        module.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, penalty, _ = module.discriminator_loss(
                Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0), penalised=penalised
            )
            total = loss + penalty + module.generator_loss(Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(1))
        assert total.dtype == torch.float32 and bool(total.isfinite())
        total.backward()
        for name, p in module.named_parameters():
            assert p.grad is not None and bool(p.grad.isfinite().all()), name


def test_drift_brings_v_back_from_where_a_divergence_is_flat() -> None:
    """total_variation with all V at 50, where tanh has no gradient left in float32: the loss alone moves nothing."""
    gradients = {}
    for drift in (0.0, 1e-3):
        module = tiny(divergence="total_variation", drift=drift)
        with torch.no_grad():
            module.discriminator.head.bias.fill_(50.0)  # type: ignore[union-attr, operator]
        x_0 = image_batch()["image"]
        loss, penalty, _ = module.discriminator_loss(
            Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0), penalised=False
        )
        (loss + penalty).backward()
        gradients[drift] = float(module.discriminator.head.bias.grad)  # type: ignore[union-attr, arg-type]
    # d/db of ε E[V²] over both kinds of pairs is 2 ε E[V]
    assert gradients[0.0] == 0 and gradients[1e-3] == pytest.approx(2e-3 * 50, rel=0.05)


def test_penalised_pairs_are_judged_in_single_precision() -> None:
    module, x_0 = tiny(), image_batch()["image"]
    seen: list[torch.dtype] = []
    module.discriminator.stem.register_forward_hook(lambda _, args, output: seen.append(output.dtype))  # type: ignore[union-attr]
    for penalised in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            module.discriminator_loss(Targets(x_0, x_0[:, :0]), torch.Generator().manual_seed(0), penalised=penalised)
    assert seen == [torch.float32, torch.bfloat16, torch.bfloat16, torch.bfloat16]


def test_accuracy_knows_which_side_is_real() -> None:
    for divergence, row in DIVERGENCES.items():
        real, fake = (row.optimal_v(torch.tensor(r)).clamp(-9, 9) for r in ([1.5, 2.0], [0.5, 0.9]))
        assert row.judges_real(real).all() and not row.judges_real(fake).any(), divergence
        assert float(tiny(divergence=divergence)._facts(real, fake)["d_accuracy"]) == 1
        assert float(tiny(divergence=divergence)._facts(fake, real)["d_accuracy"]) == 0


# -- sampling --------------------------------------------------------------------------------------------------------


def test_at_T_1_a_sample_is_the_generators_answer() -> None:
    module = tiny(timesteps=1, member_batch=3).eval()
    answers: list[Tensor] = []
    predict = module.predict
    module.predict = lambda *args: (answers.append(predict(*args)), answers[-1])[1]  # type: ignore[method-assign]
    images = module.sample_images(range(3), 0)
    assert len(answers) == 1 == module.evaluations_per_member
    assert torch.equal(images, answers[0][..., 1:7, 1:7])


@pytest.mark.parametrize("T", [1, 2, 5])
@pytest.mark.parametrize("latent_dim", [0, 4])
def test_images_do_not_depend_on_batching(T: int, latent_dim: int) -> None:
    module = tiny(timesteps=T, latent_dim=latent_dim, member_batch=8).eval()
    images = module.sample_images(range(6), 5)
    assert images.shape == (6, 1, 6, 6) and images.abs().max() <= 1 and images.std(0).min() > 1e-4
    module.member_batch = 2
    torch.manual_seed(1)
    torch.testing.assert_close(module.sample_images([5, 0], 5), images[[5, 0]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("T", [1, 2])
def test_ensemble_does_not_depend_on_batching(build: Build, field_batch: WeatherBatch, T: int) -> None:
    module = build("DDGANModule", timesteps=T, member_batch=6)
    together = module.generate(field_batch, 3, 7)
    assert together.shape == (2, 3, 2, 24, 48) and together.std(1).mean() > 1e-3
    module.member_batch = 2
    torch.manual_seed(99)
    torch.testing.assert_close(module.generate(field_batch, 3, 7), together, rtol=1e-5, atol=1e-3)
    assert (module.generate(field_batch, 3, 8) - together).abs().max() > 1e-2


def test_fields_are_not_squashed_and_images_are(build: Build, store: PairStore) -> None:
    fields, images = cast(DDGANModule, build("DDGANModule")), tiny()
    for module in (fields, images):
        randomise(module, 2.0)
    x = torch.randn(2, 2, 8, 16)
    condition = torch.randn(2, fields.codec.condition_channels, 8, 16)
    with torch.no_grad():
        step = Step(torch.tensor([1, 2]), torch.tensor([0, 1]))
        assert fields.predict(x, step, torch.randn(2, 4), condition).abs().max() > 1
        wild = images.predict(torch.randn(2, 1, 8, 8), step, torch.randn(2, 4), torch.randn(2, 0, 8, 8))
        assert wild.abs().max() <= 1


# -- whole fits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("T", [1, 4, 10])
def test_trains_on_images_and_on_fields(
    quiet_trainer: MakeTrainer, data: WeatherDataModule, T: int, precision: str
) -> None:
    for source in (TinyImages(), data):
        module = DDGANModule(**(TINY_DDGAN | {"timesteps": T, "r1_every": 2}))
        trainer = quiet_trainer(max_steps=3, precision=precision, val_check_interval=1, limit_val_batches=1)
        trainer.fit(module, datamodule=source)
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        expected = {"d_loss", "g_loss", "d_accuracy", "d_spread", "r1", "val_divergence"}
        assert values.keys() == expected | ({"val_crps"} if source is data else set())
        assert all(torch.isfinite(torch.tensor(v)) for v in values.values())


def test_a_validation_region_smaller_than_a_patch(data: WeatherDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    module = DDGANModule(**TINY_DDGAN)
    module.attach(data.spec)
    monkeypatch.setattr(module, "_datamodule", lambda: data)  # patches of 8 × 16
    cut = module._trained_patches(x := torch.randn(1, 2, 4, 24), torch.Generator().manual_seed(0))
    assert cut(x).shape == (data.batch_size, 2, 4, 16)


def test_validation_asks_the_critic_what_it_has_learnt(quiet_trainer: MakeTrainer, data: WeatherDataModule) -> None:
    """Patches of training's size, as many as there, of whole fields; its estimate is that of these patches."""
    module, seen = DDGANModule(**TINY_DDGAN), []
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    module.discriminator.register_forward_hook(lambda _, inputs, v: seen.append((tuple(inputs[0].shape), v.detach())))
    (values,) = trainer.validate(module, datamodule=data, verbose=False)
    channels = 2 * module.codec.channels + module.codec.condition_channels
    T = module.timesteps
    assert [shape for shape, _ in seen] == 2 * T * [(data.batch_size, channels, *cast(tuple[int, int], data.patch))]
    judged = [v for _, v in seen]
    losses = [float(module.divergence.critic_loss(*judged[2 * k : 2 * k + 2])) for k in range(T)]
    assert T > 1 and values["val_divergence"] == pytest.approx(-sum(losses) / T, rel=1e-5)
    batch = next(iter(data.val_dataloader()))
    cut = module._trained_patches(batch["high"], torch.Generator().manual_seed(0))(batch["high"])
    windows = batch["high"].unfold(2, 8, 1).unfold(3, 16, 1)[0]
    assert all(bool((windows == patch[:, None, None]).flatten(3).all(3).all(0).any()) for patch in cut)


@pytest.mark.parametrize("cls", [DDGANModule, LevelPairDDGANModule])
def test_validation_asks_at_every_time_whatever_the_seed(
    cls: type[DDGANModule], quiet_trainer: MakeTrainer, data: WeatherDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every field, though fields are numbered by their steps in the archive, of which every T-th may be taken."""
    asked: list[list[int]] = []
    for seed in (0, 1):
        module = cls(**(TINY_DDGAN | {"timesteps": 4, "seed": seed}))
        module.attach(data.spec)
        times: list[int] = []
        judge = module.judge
        monkeypatch.setattr(
            module, "judge", lambda pair, step, *a, j=judge, t=times: t.extend(step.t.tolist()) or j(pair, step, *a)
        )
        quiet_trainer(limit_val_batches=2).validate(module, datamodule=data, verbose=False)
        asked.append(times)
    assert asked[0] == asked[1] and len(asked[0]) == 2 * 2 * 4
    if cls is DDGANModule:
        assert sorted(asked[0]) == sorted([1, 2, 3, 4] * 4)


def test_losses_come_from_their_generator_alone(build: Build, data: WeatherDataModule) -> None:
    module = cast(DDGANModule, build("DDGANModule"))
    batch = next(iter(data.train_dataloader()))
    encoded = module.codec.encode(batch)
    x_0 = module.codec.to_target(batch["high"], encoded)

    def losses(seed: int) -> tuple[float, ...]:
        rng = torch.Generator().manual_seed(seed)
        d, p, _ = module.discriminator_loss(Targets(x_0, encoded.condition), rng, penalised=True)
        return tuple(float(v.detach()) for v in (d, p, module.generator_loss(Targets(x_0, encoded.condition), rng)))

    first = losses(0)
    torch.manual_seed(99)
    assert losses(0) == first and all(a != b for a, b in zip(losses(1), first, strict=True))


class _SaveAt(L.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_a_resumed_fit_is_the_one_that_never_stopped(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Weights of both networks, both optimisers, the average, and the penalty's turn, to the last bit."""

    def fit(callbacks: list[L.Callback], **arguments: Any) -> tuple[DDGANModule, L.Trainer]:
        module = DDGANModule(**TINY_DDGAN, r1_every=3, lr=1e-3, discriminator_lr=1e-3)
        module.backbone_args["dropout"] = 0.2
        trainer = quiet_trainer(max_steps=8, limit_val_batches=0, callbacks=callbacks)
        trainer.fit(module, datamodule=TinyImages(count=40), **arguments)
        return module, trainer

    whole_ema, ema = EMACallback(), EMACallback()
    whole, whole_trainer = fit([whole_ema])
    fit([EMACallback(), _SaveAt(4, tmp_path / "a.ckpt")])
    torch.manual_seed(1234)
    resumed, trainer = fit([ema], ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert trainer.global_step == 8 and same(whole.state_dict(), resumed.state_dict())
    assert same(whole_ema.average, ema.average)
    for a, b in zip(whole_trainer.optimizers, trainer.optimizers, strict=True):
        assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"] < 1e-3
        for key, values in a.state_dict()["state"].items():
            assert same(values, b.state_dict()["state"][key])


def test_judgement_by_time_is_logged_every_so_many_batches(quiet_trainer: MakeTrainer) -> None:
    """Of training's pairs alone; validation and tests add none."""
    module = DDGANModule(**(TINY_DDGAN | {"timesteps": 3}))
    trainer = quiet_trainer(max_steps=5, log_every_n_steps=4, val_check_interval=1, limit_val_batches=1)
    trainer.fit(module, datamodule=TinyImages())
    logged = {k for k in trainer.callback_metrics if k[-3:-1] == "_t"}
    assert logged == {f"{what}_t{t}" for what in ("d_accuracy", "d_gap") for t in (1, 2, 3)}
    assert float(module.judged.sums[:, 0].sum()) == 8  # the fifth batch's pairs wait for the eighth


def test_both_rates_fall_along_one_cosine(quiet_trainer: MakeTrainer) -> None:
    module = tiny(lr=1e-3, discriminator_lr=5e-4, final_lr_fraction=0.1)
    trainer = quiet_trainer(max_steps=8, limit_val_batches=0)
    trainer.fit(module, datamodule=TinyImages())
    rates = [o.param_groups[0]["lr"] for o in trainer.optimizers]
    assert rates == pytest.approx([1e-4, 5e-5])
    assert [o.defaults["betas"] for o in trainer.optimizers] == [(0.5, 0.9)] * 2


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_gradients_are_clipped_before_the_update(quiet_trainer: MakeTrainer, clip: float | None) -> None:
    module, norms = tiny(gradient_clip=clip), []

    class Norms(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            for network in (module.network, module.discriminator):
                norms.append(
                    float(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm())
                )

    quiet_trainer(max_steps=2, limit_val_batches=0, callbacks=[Norms()]).fit(module, datamodule=TinyImages())
    # the generator's gradient stands after its update; the discriminator's too, as the generator's step adds none to it
    assert len(norms) == 4 and all((n <= 1.01e-3) == (clip is not None) for n in norms)


@pytest.fixture
def attached(store: PairStore) -> Iterator[Callable[..., DDGANModule]]:
    def make(**arguments: Any) -> DDGANModule:
        module = DDGANModule(**(TINY_DDGAN | arguments))
        module.attach(store.spec)
        return module

    yield make


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"divergence": "wasserstein"}, "model.divergence 'wasserstein' is unknown.*hellinger"),
        ({"timesteps": 0}, "T"),
        ({"r1_every": 0}, "r1_every at least 1"),
        ({"r1_gamma": -1.0}, "r1_gamma"),
        ({"drift": -1.0}, "drift"),
        ({"discriminator": "critic"}, "unknown discriminator.*half_unet"),
        ({"discriminator_args": {"depth": 3}}, "no setting depth"),
        ({"backbone_args": TINY_UNET | {"latent": 3}}, "no setting latent"),
    ],
)
def test_bad_settings(attached: Callable[..., DDGANModule], arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words) as caught:
        attached(**arguments)
    assert "\n" not in str(caught.value)


def test_a_divergence_of_the_table_is_known_by_its_name() -> None:
    assert DDGANModule(divergence=DIVERGENCES["hellinger"]).hparams["divergence"] == "hellinger"
