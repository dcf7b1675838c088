"""FIDCallback: the same values whatever the batches, averaged weights, training left alone, and what it leaves behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ddp_fid
import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from matplotlib.image import imread
from processes import side_by_side
from tiny_images import write_idx
from torch import Tensor

from fdsr.callbacks import EMACallback
from fdsr.callbacks.fid import FIDCallback
from fdsr.data import FashionMNISTDataModule
from fdsr.drawing.png import write_grid
from fdsr.errors import FdsrError
from fdsr.metrics.frechet import frechet_distance
from fdsr.metrics.images.features import ClassifierFeatures, quantise
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics
from fdsr.records import RunFolder

MakeTrainer = Callable[..., L.Trainer]


class Draughtsman(L.LightningModule):
    """Draws noise of a learnt brightness; image i is a function of (seed, i)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.network.bias, -0.5)
        self.drawn: list[int] = []
        self.drawn_with: list[float] = []

    def sample_images(self, indices: Sequence[int], seed: int) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.drawn += list(indices)
        self.drawn_with.append(float(self.network.bias.detach()))
        rngs = [torch.Generator().manual_seed(10_000 * seed + i) for i in indices]
        return torch.stack([torch.randn(1, 28, 28, generator=rng) * 0.3 for rng in rngs]) + self.network.bias

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (batch["image"].mean() - self.network.bias + torch.randn(()) * 0.1).square().sum()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: the callback draws."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 training and 90 test images."""
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for kind, n in (("train", 120), ("t10k", 90)):
        write_idx(place / f"{kind}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(place / f"{kind}-labels-idx1-ubyte", rng.integers(0, 10, n, dtype=np.uint8))
    return place


@pytest.fixture
def images(image_folder: Path) -> FashionMNISTDataModule:
    return FashionMNISTDataModule(folder=str(image_folder), verify=False, batch_size=20)


def statistics(data: Tensor) -> GaussianStatistics:
    moments = FeatureMoments(64)
    moments.update(ClassifierFeatures()(data))
    return moments.compute()


def lines(folder: Path) -> list[dict[str, Any]]:
    return RunFolder(folder).distances.read()


@pytest.mark.parametrize("batch_size", [100, 33])
def test_a_test_ends_with_distances(
    images: FashionMNISTDataModule, quiet_trainer: MakeTrainer, tmp_path: Path, batch_size: int
) -> None:
    module = Draughtsman()
    callback = FIDCallback(n_images=100, batch_size=batch_size, seed=3, grid=9, cache=str(tmp_path / "cache"))
    trainer = quiet_trainer(callbacks=[callback])
    trainer.test(module, datamodule=images, verbose=False)
    assert module.drawn == list(range(100))
    drawn = quantise(draw(module, 100, 3))
    for name, split in (("classifier_frechet", "train"), ("classifier_frechet_test", "test")):
        expected = frechet_distance(statistics(drawn), statistics(images.published(split).images[:, None]))
        assert float(trainer.callback_metrics[f"fdsr/{name}"]) == pytest.approx(float(expected), rel=1e-4)
        assert lines(tmp_path)[0][name] == pytest.approx(float(expected), rel=1e-5)
    facts = lines(tmp_path)[0]
    train, test = (statistics(images.published(split).images[:, None]) for split in ("train", "test"))
    assert facts["classifier_frechet_floor"] == pytest.approx(float(frechet_distance(train, test)), rel=1e-4)
    assert (
        facts["n_floor"] == 90
        and facts["n_generated"] == 100
        and facts["stage"] == "test"
        and facts["seconds_per_image"] > 0
    )
    grid = imread(tmp_path / "samples" / "test_0000000.png")
    np.testing.assert_array_equal((grid[2:30, 32:60, 0] * 255).round(), drawn[1, 0])


def test_compared_with_fewer_images(images: FashionMNISTDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    module = Draughtsman()
    callback = FIDCallback(n_images=100, n_reference=40, seed=3, cache=str(tmp_path / "cache"))
    quiet_trainer(callbacks=[callback]).test(module, datamodule=images, verbose=False)
    (facts,) = lines(tmp_path)
    drawn = statistics(quantise(draw(module, 100, 3)))
    some = statistics(images.published("train").images[:40, None])
    assert facts["n_reference"] == facts["n_floor"] == 40
    assert facts["classifier_frechet"] == pytest.approx(float(frechet_distance(drawn, some)), rel=1e-5)
    with pytest.raises(FdsrError, match="n_reference is 1; it must be at least 2"):
        FIDCallback(n_reference=1)


def draw(module: Draughtsman, n: int, seed: int) -> Tensor:
    with torch.no_grad():
        return module.eval().sample_images(range(n), seed)


class Weights(L.Callback):
    """The raw weight after every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        self.seen.append(float(pl_module.network.bias.detach()))


def test_training_is_not_touched_and_the_average_draws(
    images: FashionMNISTDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    def fit(*callbacks: L.Callback) -> tuple[Draughtsman, list[float], L.Trainer]:
        torch.manual_seed(0)
        module, weights = Draughtsman(), Weights()
        trainer = quiet_trainer(max_steps=6, callbacks=[*callbacks, weights])
        trainer.fit(module, datamodule=images)
        return module, weights.seen, trainer

    _, plain, _ = fit()
    ema = EMACallback()
    callback = FIDCallback(n_images=40, batch_size=40, every_n_steps=3, cache=str(tmp_path / "cache"))
    module, watched, trainer = fit(callback, ema)
    assert watched == plain
    assert [line["step"] for line in lines(tmp_path)] == [3, 6]
    average, raw = -0.5, [-0.5, *plain]
    averages = []
    for n in range(1, 7):
        decay = min(0.999, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * raw[n]
        averages.append(average)
    assert module.drawn_with == pytest.approx([averages[2], averages[5]], abs=1e-6)
    assert module.training and (tmp_path / "samples" / "fit_0000003.png").exists()
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    checkpoint = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {"network.weight", "network.bias"}
    assert not any("FID" in name for name in checkpoint["callbacks"])


def test_a_signal_ends_the_drawing(images: FashionMNISTDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    module = Draughtsman()
    draw_images = module.sample_images

    def told_to_stop(indices: Sequence[int], seed: int) -> Tensor:
        if len(module.drawn) == 20:
            signal.raise_signal(signal.SIGTERM)
        return draw_images(indices, seed)

    module.sample_images = told_to_stop  # type: ignore[method-assign]
    trainer = quiet_trainer(callbacks=[FIDCallback(n_images=60, batch_size=10)], default_root_dir=str(tmp_path))
    with pytest.raises(SIGTERMException):
        trainer.test(module, images)
    assert len(module.drawn) == 30 and not RunFolder(tmp_path).distances.exists()


def test_no_schedule_no_drawing(images: FashionMNISTDataModule, quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    module = Draughtsman()
    quiet_trainer(max_steps=3, callbacks=[FIDCallback(n_images=4)]).fit(module, datamodule=images)
    assert module.drawn == [] and not RunFolder(tmp_path).distances.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"distances": ["fdi"]}, "distance 'fdi' is unknown"),
        ({"n_images": 1}, "n_images"),
        ({"every_n_steps": 0}, "every_n_steps"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FdsrError, match=complaint):
        FIDCallback(**arguments)


def test_data_without_images_are_refused(quiet_trainer: MakeTrainer, data: L.LightningDataModule) -> None:
    with pytest.raises(FdsrError, match="compares images"):
        quiet_trainer(callbacks=[FIDCallback()]).test(Draughtsman(), datamodule=data)


def test_a_grid_shows_every_image(tmp_path: Path) -> None:
    tiles = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 6) * 50
    grid = imread(write_grid(tmp_path / "grid.png", tiles, margin=1))
    assert grid.shape[:2] == (2 * 5 + 1, 3 * 7 + 1)
    for i in range(5):
        tile = grid[1 + i // 3 * 5 :, 1 + i % 3 * 7 :][:4, :6, :3] * 255
        np.testing.assert_allclose(tile, 50 * i, atol=0.01)
    assert float(grid[6:10, 15:21, :3].min()) == 1  # no sixth image


@pytest.mark.slow
def test_processes_agree(image_folder: Path, tmp_path: Path, world_size: int = 2) -> None:
    """A DDGAN's images drawn by several processes give the distances of one process, training and testing."""
    ddp_fid.main(image_folder, tmp_path / "1", 1)
    side_by_side(ddp_fid.main, image_folder, tmp_path / str(world_size), world_size, world=world_size)
    found = [lines(tmp_path / str(n)) for n in (1, world_size)]
    for one, several in zip(*found, strict=True):
        assert (one["stage"], one["processes"], several["processes"]) == (several["stage"], 1, world_size)
        for name in ("classifier_frechet", "classifier_frechet_test", "classifier_frechet_floor"):
            assert several[name] == pytest.approx(one[name], rel=1e-5)
    assert [line["stage"] for line in found[0]] == ["fit", "fit", "test"]
    grids = [imread(next((tmp_path / str(n) / "samples").glob("test_*.png"))) for n in (1, world_size)]
    np.testing.assert_allclose(*grids, atol=1.01 / 255)
