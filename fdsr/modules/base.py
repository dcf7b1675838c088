"""What every downscaling method shares: its fields, its checkpoint, and how it is evaluated."""

from __future__ import annotations

from typing import Any, TypedDict

import lightning as L
import torch
from torch import Tensor

from fdsr.data.spec import FieldSpec
from fdsr.data.weather import WeatherBatch
from fdsr.errors import FdsrError
from fdsr.modules.fields import FieldCodec

SPEC_KEY = "fdsr_spec"
CLASS_KEY = "fdsr_class"


class Ensemble(TypedDict, total=False):
    """What a test or prediction step returns, in physical units."""

    prediction: Tensor  # (B, M, C, H, W)
    truth: Tensor  # (B, C, H, W), in tests
    low: Tensor  # (B, D, h + 2·HALO, w + 2·HALO)
    time: Tensor  # (B,) seconds since 1970
    index: Tensor  # (B,)


class DownscalingModule(L.LightningModule):
    """Base of all methods: subclasses implement `generate`, and `build` where they have networks.

    The grid, channels and statistics (`FieldSpec`) come from the data module when a run begins, or from the checkpoint;
    they are saved in every checkpoint, and a checkpoint refuses data that differ.
    """

    trains_on_whole_fields = False  # read by the data module: patches otherwise

    def __init__(
        self, target: str = "residual", members: int = 1, seed: int = 0, interpolation: str | None = None
    ) -> None:
        super().__init__()
        # every argument of the subclass at hand, so that a checkpoint can be rebuilt from itself
        self.save_hyperparameters(logger=False)
        self.target, self.members, self.seed, self.interpolation = target, members, seed, interpolation
        self.codec: FieldCodec | None = None

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> FieldSpec:
        return self.fields.spec

    @property
    def fields(self) -> FieldCodec:
        if self.codec is None:
            raise FdsrError(
                "the module knows no grid yet; attach a FieldSpec, load a checkpoint, or run it in a Trainer"
            )
        return self.codec

    def attach(self, spec: FieldSpec) -> None:
        """Give the module its grid and statistics, and build what depends on them. Once only."""
        if self.codec is None:
            self.codec = FieldCodec(spec, self.target, self.interpolation)
            try:
                self.build(self.codec)
            except ValueError as error:  # a setting that the mathematics or a backbone refuses
                self.codec = None
                raise FdsrError(f"model: {error}") from error

    def build(self, fields: FieldCodec) -> None:
        """Make networks for these fields. Nothing by default."""

    def configure_model(self) -> None:
        if self.codec is None:
            self.attach(self.trainer.datamodule.spec)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[SPEC_KEY] = self.spec.to_dict()
        checkpoint[CLASS_KEY] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if SPEC_KEY not in checkpoint:
            raise FdsrError("the checkpoint holds no grid or statistics; it was not written by fdsr")
        saved = FieldSpec.from_dict(checkpoint[SPEC_KEY])
        if self.codec is None:
            self.attach(saved)
        elif self.spec is not saved:
            saved.require_same(self.spec, getattr(self._datamodule(), "path", None) or "data")

    def _datamodule(self) -> Any:
        return getattr(self._trainer, "datamodule", None) if self._trainer else None

    # -- evaluation ------------------------------------------------------------------------------------------------

    @property
    def evaluations_per_member(self) -> int:
        """Network evaluations (NFE) that one member costs."""
        return 0

    def generate(self, batch: WeatherBatch, members: int, seed: int) -> Tensor:
        """An ensemble of fine fields (B, M, C, H, W) in physical units.

        Members are seeded by (seed, time, member): the result does not depend on batch size or process count. M is 1
        for a deterministic method, whatever `members` asks.
        """
        raise NotImplementedError

    @torch.no_grad()
    def test_step(self, batch: WeatherBatch, batch_idx: int) -> Ensemble:
        prediction = self.generate(batch, self.members, self.seed)
        return {
            "prediction": prediction,
            "truth": batch["high"],
            "low": batch["low"],
            "time": batch["time"],
            "index": batch["index"],
        }

    @torch.no_grad()
    def predict_step(self, batch: WeatherBatch, batch_idx: int) -> Ensemble:
        prediction = self.generate(batch, self.members, self.seed)
        return {"prediction": prediction, "low": batch["low"], "time": batch["time"], "index": batch["index"]}
