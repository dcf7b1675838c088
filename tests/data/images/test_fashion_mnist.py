"""Fashion-MNIST: files found and verified, batches, shares of processes, and resuming in mid-epoch."""

from __future__ import annotations

import gzip
import hashlib
import urllib.request
from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_images import write_idx

import fdsr.data.images.files as files
from fdsr.data import FashionMNISTDataModule
from fdsr.data.images.idx import parse_idx, read_unpacked
from fdsr.errors import FdsrError

NAMES = tuple(files.SHA256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifty training and nine test images whose pixels tell their place, packed and unpacked in turn."""
    place = tmp_path / "images"
    place.mkdir()
    for kind, n in (("train", 50), ("t10k", 9)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(n)
        write_idx(place / f"{kind}-images-idx3-ubyte.gz", images)
        write_idx(place / f"{kind}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    return place


def data_module(folder: Path, **arguments: Any) -> FashionMNISTDataModule:
    module = FashionMNISTDataModule(folder=str(folder), verify=False, **({"batch_size": 8} | arguments))
    module.setup("fit")
    return module


def place(module: FashionMNISTDataModule, rank: int, world_size: int, processed: int = 0) -> None:
    """Pretend to be a process of several, with some batches of the epoch done."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=processed))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank, world_size=world_size, fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )  # fmt: skip


@given(values=arrays(np.uint8, st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)))
def test_idx_round_trip(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "values.gz"
    write_idx(path, values)
    read = parse_idx(read_unpacked(path), path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


def test_idx_bytes_are_those_of_the_format() -> None:
    # the format's own description: magic 0x00000803 for three axes of unsigned bytes, sizes big-endian
    data = bytes([0, 0, 8, 3]) + bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))
    np.testing.assert_array_equal(parse_idx(data, "x"), np.arange(6).reshape(1, 2, 3))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not an IDX file"),
        (b"PNG!", "not an IDX file"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "unsigned bytes"),
        (bytes([0, 0, 8, 3, 0, 0]), "within its header"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 5, 1, 2]), "2 values"),
    ],
)
def test_what_is_no_idx_file_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(FdsrError, match=complaint):
        parse_idx(data, "some file")


def test_a_damaged_archive_is_refused(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FdsrError, match=r"train-images-idx3-ubyte.gz' cannot be read"):
        data_module(folder)


def test_files_other_than_the_published_are_refused(folder: Path) -> None:
    with pytest.raises(FdsrError, match="sha256 differs"):
        files.load(folder, "test")
    assert len(files.load(folder, "test", verify=False).images) == 9


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FdsrError, match="lacks train-images-idx3-ubyte, "):
        FashionMNISTDataModule(folder=str(tmp_path)).prepare_data()


def test_batches(folder: Path) -> None:
    module = data_module(folder)
    raw = files.load(folder, "train", verify=False)
    loader = module.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 6
    for batch in batches:
        assert batch["image"].shape == (8, 1, 32, 32) and batch["image"].dtype == torch.float32
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        torch.testing.assert_close(batch["image"][:, 0, 2:30, 2:30] * 127.5 + 127.5, raw.images[batch["index"]].float())
        margin = torch.ones(32, 32, dtype=torch.bool)
        margin[2:30, 2:30] = False
        assert bool((batch["image"][:, 0, margin] == -1).all())
        torch.testing.assert_close(batch["label"], raw.labels[batch["index"]].long())
    assert max(Counter(torch.cat([b["index"] for b in batches]).tolist()).values()) == 1
    assert (module.spec.height, module.spec.width, module.spec.channels, module.spec.padded) == (28, 28, 1, 32)


def epoch(module: FashionMNISTDataModule, number: int) -> list[list[int]]:
    loader = module.train_dataloader()
    loader.set_epoch(number)
    return [batch["index"].tolist() for batch in loader]


def test_epochs_are_a_function_of_seed_and_number(folder: Path) -> None:
    module = data_module(folder)
    assert epoch(module, 3) == epoch(data_module(folder), 3)
    assert epoch(module, 3) != epoch(module, 4)
    assert epoch(module, 3) != epoch(data_module(folder, seed=1), 3)
    # fifty images, forty-eight in whole batches: the two left out are others each time
    left = [set(range(50)) - {i for batch in epoch(module, e) for i in batch} for e in range(20)]
    assert all(len(out) == 2 for out in left) and len({frozenset(out) for out in left}) > 10


def test_a_resumed_epoch_goes_on_where_it_stopped(folder: Path) -> None:
    module = data_module(folder)
    whole = epoch(module, 2)
    place(module, 0, 1, processed=4)
    loader = module.train_dataloader()
    loader.set_epoch(2)
    iter(loader)  # looked at and dropped, as trainers do
    assert [b["index"].tolist() for b in loader] == whole[4:]
    loader.set_epoch(3)
    assert len(list(loader)) == 6


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shares_of_processes(folder: Path, world_size: int) -> None:
    train, test = [], []
    for rank in range(world_size):
        module = data_module(folder, batch_size=4, eval_batch_size=2)
        place(module, rank, world_size)
        loader = module.train_dataloader()
        batches = [b["index"].tolist() for b in loader]
        assert len(batches) == len(loader) == 50 // (4 * world_size)
        train += [i for batch in batches for i in batch]
        test += [i for batch in module.test_dataloader() for i in batch["index"].tolist()]
    assert len(train) == len(set(train))
    assert sorted(test) == list(range(9))


def test_held_out_images_are_not_trained_on(folder: Path) -> None:
    module = data_module(folder, val=10)
    assert {i for e in range(5) for batch in epoch(module, e) for i in batch} == set(range(40))
    raw = files.load(folder, "train", verify=False).images
    validated = torch.cat([b["image"][:, 0, 2:30, 2:30] for b in module.val_dataloader()])
    torch.testing.assert_close(validated * 127.5 + 127.5, raw[40:].float())
    assert len(module.published("train").images) == 50 and data_module(folder).val_dataloader() == []


def test_limit(folder: Path) -> None:
    module = data_module(folder, limit=8)
    assert len(module.images("train").images) == len(module.images("test").images) == 8


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"limit": 0}, {"val": -1}])
def test_bad_settings_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(FdsrError, match=f"data.{next(iter(arguments))} is "):
        FashionMNISTDataModule(**arguments)


def test_a_batch_larger_than_the_data_is_refused(folder: Path) -> None:
    with pytest.raises(FdsrError, match="lower data"):
        data_module(folder, batch_size=48, val=10)


class Recorder(L.LightningModule):
    """Trains a number, and notes which images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch["index"].tolist())
        return (batch["image"].mean() - self.weight).square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(L.Callback):
    """Saves at the end of a batch, as ModelCheckpoint does."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("stop", [9, 12])  # in the middle and at the end of an epoch
def test_a_trainer_resumes_in_mid_epoch(folder: Path, quiet_trainer: Any, tmp_path: Path, stop: int) -> None:
    whole = fit(folder, quiet_trainer(max_steps=15, callbacks=[SaveAt(stop, tmp_path / "saved.ckpt")]))
    resumed = fit(folder, quiet_trainer(max_steps=15), resume=tmp_path / "saved.ckpt")
    assert len(whole.seen) == 15 and resumed.seen == whole.seen[stop:]
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def fit(folder: Path, trainer: L.Trainer, size: int = 8, resume: Path | None = None) -> Recorder:
    module, data = Recorder(), FashionMNISTDataModule(folder=str(folder), verify=False, batch_size=size)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize(("size", "first"), [(4, 24), (16, 16)])
def test_an_epoch_goes_on_in_other_batches(
    folder: Path, quiet_trainer: Any, tmp_path: Path, size: int, first: int
) -> None:
    """Behind the images that it has seen; of larger batches the first may hold some of these."""
    whole = fit(folder, quiet_trainer(max_steps=12, callbacks=[SaveAt(9, tmp_path / "saved.ckpt")]))
    steps = (48 - first) // size
    seen = fit(folder, quiet_trainer(max_steps=9 + steps), size, tmp_path / "saved.ckpt").seen
    assert list(chain(*seen)) == list(chain(*whole.seen[6:]))[first:] and len(seen) == steps


@pytest.fixture
def mirror(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place to download from, whose files are the right ones."""
    place = tmp_path / "mirror"
    place.mkdir()
    for name in NAMES:
        path = next(p for p in (folder / name, folder / f"{name}.gz") if p.exists())
        data = read_unpacked(path)
        (place / f"{name}.gz").write_bytes(gzip.compress(data))
        monkeypatch.setitem(files.SHA256, name, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(files, "DEBIAN_FOLDER", tmp_path / "nowhere")
    return place.as_uri() + "/"


def test_download(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MIRRORS", ("file:///no/such/place/", mirror))
    monkeypatch.setattr(files.download, "__defaults__", (files.MIRRORS,))
    module = FashionMNISTDataModule(cache=str(tmp_path / "cache"), batch_size=8)
    with pytest.raises(FdsrError, match="prepare_data"):
        module.setup("fit")
    module.prepare_data()
    module.setup("fit")
    assert len(module.images("train").images) == 50
    assert sorted(p.name for p in (tmp_path / "cache" / "fashion-mnist").iterdir()) == sorted(f"{n}.gz" for n in NAMES)
    # once is enough
    monkeypatch.setattr(files.download, "__defaults__", (("file:///no/such/place/",),))
    module.prepare_data()


def test_a_damaged_download_is_refused_and_leaves_nothing(mirror: str, tmp_path: Path) -> None:
    path = Path(urllib.request.url2pathname(mirror.removeprefix("file://"))) / f"{NAMES[0]}.gz"
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(FdsrError, match=r"cannot be downloaded .*sha256.*dataset-fashion-mnist"):
        files.download(tmp_path / "cache", [mirror])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(
    not files.DEBIAN_FOLDER.exists(), reason="the Debian package dataset-fashion-mnist is not installed"
)
def test_the_published_files() -> None:
    module = FashionMNISTDataModule()
    module.setup("fit")
    for split, n in (("train", 60_000), ("test", 10_000)):
        images, labels = module.images(split)
        assert images.shape == (n, 28, 28) and torch.bincount(labels.long()).tolist() == [n // 10] * 10
    # mean and standard deviation as everybody quotes them
    assert float(module.images("train").images.float().mean() / 255) == pytest.approx(0.2860, abs=1e-4)


def test_statistics_of_the_training_images(folder: Path) -> None:
    """Mean, and power about it in the padded square; of what is trained on alone, the same whatever the batch."""
    data = data_module(folder, spectrum=True, val=10)
    spec = data.spec
    images = np.full((40, 32, 32), -1.0)
    images[:, 2:30, 2:30] = data.images("train").images.numpy() / 127.5 - 1
    assert spec.mean is not None and spec.variance is not None and spec.power is not None
    mean = images.mean(0)
    variance = np.square(images - mean).mean()
    np.testing.assert_allclose(spec.mean[0], mean, atol=1e-5)
    assert float(spec.variance) == pytest.approx(variance, rel=1e-5)
    basis = np.cos(np.pi * (np.arange(32) + 0.5) * np.arange(32)[:, None] / 32) * np.sqrt(2 / 32)
    basis[0] /= np.sqrt(2)
    power = np.square(basis @ (images - mean) @ basis.T).mean(0) / variance
    np.testing.assert_allclose(spec.power[0], power, rtol=1e-4, atol=1e-8)
    assert data.spec is spec and data_module(folder).spec.power is None
