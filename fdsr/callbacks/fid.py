"""Fréchet and kernel distances between generated and real images, during training and in tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torchmetrics import Metric
from tqdm import tqdm

from fdsr.callbacks.evaluation_mode import evaluation_mode, now
from fdsr.callbacks.logged_names import distance as distance_key
from fdsr.data.images.files import LabelledImages
from fdsr.errors import FdsrError, choose, require_at_least
from fdsr.metrics.frechet import FrechetDistance, frechet_distance
from fdsr.metrics.images.distances import IMAGE_DISTANCES
from fdsr.metrics.images.features import FeatureExtractor, quantise
from fdsr.metrics.images.reference import reference
from fdsr.modules.generative import GenerativeModule
from fdsr.records import RunFolder, code_version, device_name

# against which published images, and how the distance is called then
_REFERENCES = {"train": "", "test": "_test"}


class FIDCallback(Callback):
    """Draws images with the averaged weights, and measures how far they are from the training and the test images.

    Each process draws its own indices; only sums and features are merged, and every process ends with the same values.
    They are logged as `fdsr/fid`, `fdsr/kid`, `fdsr/classifier_frechet` (against the training images) and the same with
    `_test` (against the test images), appended to the run's distances (see `RunFolder`) with everything a table needs, the
    test images' own distance to the training images included, and the first images are drawn beside them.
    Training is not touched; networks and sums are no part of a checkpoint.

    Args:
        distances: of fid, kid, classifier_frechet. The first two need the extra `fid` and hours on a CPU.
        n_images: how many images to draw. The distances are biased by it: compare equal numbers only.
        batch_size: images drawn at a time by a process.
        every_n_steps: measure after every so many training steps; None: in tests alone.
        on_test: measure when a test ends.
        against_test: measure also against the test images, and record how far these are from the training images
            (`fid_floor`, …, of `n_floor` images): no generator is expected to come nearer.
        n_reference: how many published images of each kind to compare with, the first ones; None: all. For where Inception on
            all would take hours; fewer make the distances larger.
        fid_weights: file of FID's Inception weights, see load_inception_weights; None: downloaded.
        seed: of the images drawn; the same images' noise every time.
        grid: how many images to draw to the PNG.
        cache: folder of what is known of the real images; default $FDSR_CACHE or ./cache.
    """

    def __init__(
        self,
        distances: Sequence[str] = ("classifier_frechet",),
        n_images: int = 10_000,
        batch_size: int = 250,
        every_n_steps: int | None = None,
        on_test: bool = True,
        against_test: bool = True,
        n_reference: int | None = None,
        fid_weights: str | None = None,
        seed: int = 0,
        grid: int = 64,
        cache: str | None = None,
    ) -> None:
        self.distances = {name: choose(IMAGE_DISTANCES, name, "distance") for name in distances}
        require_at_least(0, "FIDCallback: ", grid=grid)
        require_at_least(1, "FIDCallback: ", batch_size=batch_size, every_n_steps=every_n_steps)
        require_at_least(2, "FIDCallback: ", n_images=n_images, n_reference=n_reference)
        self.n_images, self.batch_size, self.every_n_steps, self.on_test = n_images, batch_size, every_n_steps, on_test
        self.references = ("train", "test") if against_test else ("train",)
        self.fid_weights, self.seed, self.grid, self.n_reference = fid_weights, seed, grid, n_reference
        self.cache = Path(cache or os.environ.get("FDSR_CACHE", "cache"))
        # network → the metrics that want its features, by the names under which they are logged; made when first needed
        self._metrics: list[tuple[FeatureExtractor, dict[str, Metric]]] = []
        self._last_step = 0
        # the published test images' own distances to the training images, as {name}_floor, and their number as n_floor
        self._floors: dict[str, float] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not hasattr(trainer.datamodule, "published"):  # type: ignore[attr-defined]
            raise FdsrError("FIDCallback compares images, and these data have none; take it out of trainer.callbacks")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if self.every_n_steps and step and step % self.every_n_steps == 0 and step != self._last_step:
            self._last_step = step
            self.measure(trainer, pl_module, "fit")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.on_test:
            self.measure(trainer, pl_module, "test")

    def measure(self, trainer: L.Trainer, module: Any, stage: str) -> dict[str, float]:
        """Draw, compare, log and write. A collective call: every process must make it."""
        step = trainer.global_step if stage == "fit" else getattr(module, "trained_steps", 0)
        with evaluation_mode(trainer, module):
            self._prepare(trainer, module.device)
            shown, seconds = self._draw(trainer, module)
            values = {name: float(metric.compute()) for _, metrics in self._metrics for name, metric in metrics.items()}
            values = {name: values[name] for name in sorted(values)}
        named = {distance_key(name): value for name, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named, step=step)
        # for whoever monitors; every process has the same values, nothing is to be reduced
        module.log_dict(named, logger=False, on_step=stage == "fit", on_epoch=stage != "fit", batch_size=1)
        if trainer.is_global_zero:
            folder = RunFolder(trainer.default_root_dir)
            if self.grid:
                from fdsr.drawing.png import write_grid  # nobody else need wait for matplotlib

                write_grid(folder.picture(stage, step), shown.cpu().numpy())
            facts: dict[str, float] = {"n_generated": self.n_images}
            if self.n_reference:
                facts["n_reference"] = self.n_reference
            facts |= {"seed": self.seed, "seconds_per_image": seconds, "processes": trainer.world_size}
            where = {"device": device_name(module.device), "commit": code_version()}
            folder.distances.append({"stage": stage, "step": step} | values | self._floors | facts | where)
        return values

    def _prepare(self, trainer: L.Trainer, device: torch.device) -> None:
        """The networks, and the real images' statistics; one network for the distances that share it."""
        if self._metrics:
            for _, old in self._metrics:
                for metric in old.values():
                    metric.reset()
            return
        published = trainer.datamodule.published  # type: ignore[attr-defined]
        real: dict[str, LabelledImages] = {split: published(split) for split in self.references}
        for make in dict.fromkeys(distance.extractor for distance in self.distances.values()):
            extractor = make(self.fid_weights, self.cache).to(device)
            metrics: dict[str, Metric] = {}
            for split, data in real.items():
                images = data.images[: self.n_reference, None].to(device)
                known = reference(extractor, images, data.fingerprint(), self.cache, batch_size=self.batch_size)
                for name, distance in self.distances.items():
                    if distance.extractor is make:
                        metrics[name + _REFERENCES[split]] = distance.metric(known).to(device)
            self._metrics.append((extractor, metrics))
            for name, metric in list(metrics.items()):
                test = metrics.get(name + _REFERENCES["test"])
                if isinstance(metric, FrechetDistance) and isinstance(test, FrechetDistance) and test is not metric:
                    self._floors[f"{name}_floor"] = float(frechet_distance(test.reference, metric.reference))
                    self._floors["n_floor"] = int(test.reference.n)

    def _draw(self, trainer: L.Trainer, module: GenerativeModule) -> tuple[Tensor, float]:
        """Feed the metrics this process's share; the first images of all processes, and seconds an image here."""
        mine = range(trainer.global_rank, self.n_images, trainer.world_size)
        shown: Tensor | None = None
        seconds, device = 0.0, module.device
        quiet = not trainer.is_global_zero or trainer.progress_bar_callback is None
        with tqdm(total=len(mine), desc="drawing images", unit="image", leave=False, disable=quiet) as bar:
            for start in range(0, len(mine), self.batch_size):
                if trainer.received_sigterm:  # which Lightning looks at between batches alone
                    raise SIGTERMException
                some = list(mine[start : start + self.batch_size])
                clock = now(device)
                images = module.sample_images(some, self.seed)
                seconds += now(device) - clock
                images = quantise(images.float())
                indices = torch.tensor(some, device=device)
                for extractor, metrics in self._metrics:
                    features = extractor(images)
                    for metric in metrics.values():
                        metric.update(features, indices)
                if shown is None:
                    shown = torch.zeros(min(self.grid, self.n_images), *images.shape[1:], device=device)
                first = indices < len(shown)
                shown[indices[first]] = images[first].float()
                bar.update(len(some))
        if shown is None:
            raise FdsrError(f"FIDCallback: {self.n_images} images for {trainer.world_size} processes; raise n_images")
        # zero where another process drew: the sum is everybody's
        whole = trainer.strategy.reduce(shown, reduce_op="sum")
        assert isinstance(whole, Tensor)
        return whole.to(torch.uint8), seconds / len(mine)
