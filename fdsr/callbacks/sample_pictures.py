"""Pictures of an ensemble while a model trains."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import xarray as xr
from lightning.pytorch.loggers import WandbLogger

from fdsr.callbacks.evaluation import EvaluationCallback, Scores, validation_fields
from fdsr.callbacks.example import example_dataset
from fdsr.callbacks.logged_names import SAMPLES
from fdsr.errors import FdsrError
from fdsr.modules.downscaling import DownscalingModule, Ensemble
from fdsr.records import RunFolder


class SamplePictures(EvaluationCallback):
    """Draws coarse field, truth, two members, mean and spread of one time of the validation block.

    Each picture stands among the samples in the run's directory, and `fdsr/samples` in Weights & Biases where that
    is a logger. Rank 0 makes this time's ensemble itself, so that no fields are sent between processes.

    Args:
        time: position in the validation block; negative ones count from its end.
        every_n_steps, on_validation, members: see EvaluationCallback; the spread is that of these members.
    """

    needs_rank_zero = True

    def __init__(
        self, every_n_steps: int | None = None, on_validation: bool = True, time: int = 0, members: int = 4
    ) -> None:
        super().__init__(every_n_steps, on_validation, None, members)
        self.time = time
        self.example: xr.Dataset | None = None  # on rank 0, between `add` and `finish`

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage in ("fit", "validate"):
            n = len(validation_fields(trainer, "SamplePictures"))
            if not -n <= self.time < n:
                raise FdsrError(f"SamplePictures: time is {self.time}, but the validation block has {n} times")

    def positions(self, n: int) -> list[int]:
        return [self.time % n]

    def begin(self, module: DownscalingModule) -> None:
        self.example = None

    def add(self, module: DownscalingModule, ensemble: Ensemble) -> None:
        self.example = example_dataset(module.fields.spec, ensemble, type(module).__name__)

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        example, self.example = self.example, None
        if example is not None and trainer.is_global_zero:
            path = draw_sample(example, RunFolder(trainer.default_root_dir).picture("step", step), step)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(SAMPLES, [str(path)], step=step)
        return {}


def draw_sample(example: xr.Dataset, path: Path, step: int) -> Path:
    """The picture of `example_dataset`."""
    # here, because nobody but rank 0 needs to wait for matplotlib
    from fdsr.drawing import maps
    from fdsr.drawing.png import picture

    ds = maps.window(example)
    with picture(path, *maps.size(ds)) as figure:
        maps.draw_maps(figure, ds, f"{ds.attrs['method']} after {step} steps")
    return path
