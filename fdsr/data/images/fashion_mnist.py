"""FashionMNISTDataModule: the whole set in memory, batches by indexing."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fdsr.data.image_spec import ImageSpec
from fdsr.data.images.batches import EvaluationBatches, TrainingBatches
from fdsr.data.images.files import LabelledImages, download, find_folder, load
from fdsr.data.images.statistics import measured
from fdsr.data.resuming import ResumableDataModule
from fdsr.errors import FdsrError, require_at_least

SPLITS = ("train", "val", "test")


class FashionMNISTDataModule(ResumableDataModule):
    """Fashion-MNIST, padded to a square of even sides; any other set in the same files serves with `verify: false`.

    The bytes are kept on the GPU where there is one (55 MB), else in memory.

    Args:
        folder: where the four IDX files lie, packed by gzip or not. null: the folder of the Debian package
            dataset-fashion-mnist, or else the cache, into which they are downloaded once.
        batch_size: images per training batch and process.
        eval_batch_size: images per batch in validation and test.
        padded: side of the square in which the network sees the 28 × 28 images.
        val: how many of the training images, the last ones, are held out for validation. The published training set, and the
            reference of the Fréchet distances, is all 60 000.
        limit: use only the first so many images of each file.
        spectrum: measure mean and power of the training images, which spectral preconditioning and coloured noise need and which is
            saved in checkpoints.
        verify: require the sha256 of the published files.
        seed: root of the shuffles.
        cache: folder of downloads; default $FDSR_CACHE or ./cache.
    """

    def __init__(
        self,
        folder: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        padded: int = 32,
        val: int = 0,
        limit: int | None = None,
        spectrum: bool = False,
        verify: bool = True,
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        require_at_least(0, "data.", val=val)
        require_at_least(1, "data.", batch_size=batch_size, eval_batch_size=eval_batch_size, limit=limit)
        self.folder, self.batch_size, self.eval_batch_size, self.padded = folder, batch_size, eval_batch_size, padded
        self.val, self.limit, self.spectrum, self.verify, self.seed = val, limit, spectrum, verify, seed
        self.cache = Path(cache or os.environ.get("FDSR_CACHE", "cache")) / "fashion-mnist"
        self._files: dict[str, LabelledImages] = {}
        self._spec: ImageSpec | None = None

    @property
    def path(self) -> str:
        """What the data are called in messages."""
        return self.folder or "Fashion-MNIST"

    @property
    def spec(self) -> ImageSpec:
        if self._spec is None:
            height, width = self.published("train").images.shape[1:]
            spec = ImageSpec(1, height, width, self.padded)
            self._spec = measured(spec, self.images("train")) if self.spectrum else spec
        return self._spec

    def images(self, split: str) -> LabelledImages:
        """The bytes of a split: train (without what is held out), val or test. Raises FdsrError before `setup`."""
        if split not in SPLITS:
            raise FdsrError(f"there is no split '{split}'; it must be one of {', '.join(SPLITS)}")
        if split == "test":
            return self.published("test")
        images, labels = self.published("train")
        kept = slice(len(images) - self.val) if split == "train" else slice(len(images) - self.val, None)
        return LabelledImages(images[kept], labels[kept])

    def published(self, split: str) -> LabelledImages:
        """All images of a file, train or test, held out or not: what Fréchet distances are measured against."""
        if not self._files:
            raise FdsrError("the images are not loaded yet; call setup first")
        return self._files[split]

    def prepare_data(self) -> None:
        """Download the files if they are nowhere; Lightning calls this in one process only."""
        if find_folder(self.folder, self.cache) is None:
            download(self.cache)

    def setup(self, stage: str) -> None:
        if self._files:
            return
        folder = find_folder(self.folder, self.cache)
        if folder is None:
            raise FdsrError("the Fashion-MNIST files are not on this machine yet; call prepare_data first")
        files = {split: self._first(load(folder, split, self.verify)) for split in ("train", "test")}
        kept = len(files["train"].images) - self.val
        if kept < self.batch_size * self._place[1]:
            raise FdsrError(
                f"'{folder}' leaves {max(kept, 0)} training images for {self._place[1]} process(es) with batches of "
                f"{self.batch_size}; lower data.batch_size or data.val"
            )
        self._files = files

    def train_dataloader(self) -> TrainingBatches:
        batches = TrainingBatches(self.images("train"), self.spec, self.batch_size, self.seed, *self._place)
        batches.skip = self.batches_done(len(batches))
        return batches

    def val_dataloader(self) -> EvaluationBatches | list:
        return self._evaluation("val") if self.val else []

    def test_dataloader(self) -> EvaluationBatches:
        return self._evaluation("test")

    def _evaluation(self, split: str) -> EvaluationBatches:
        data = self.images(split)
        if len(data.images) < self._place[1]:  # Lightning would skip the evaluation of a process without images
            raise FdsrError(f"{len(data.images)} {split} images for {self._place[1]} processes; raise data.limit")
        return EvaluationBatches(data, self.spec, self.eval_batch_size, *self._place)

    def _first(self, data: LabelledImages) -> LabelledImages:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return LabelledImages(data.images[: self.limit].to(device), data.labels[: self.limit].to(device))
