"""What every method shares: its data's codec, its checkpoint, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypedDict

import lightning as L
import torch
from torch import Tensor

from fdsr.data.choices import require_choice
from fdsr.data.field_spec import FieldSpec
from fdsr.data.place import require_inside
from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.agreement import require_agreement
from fdsr.modules.codec import Batch, Codec
from fdsr.modules.conservation import Conservation, ConserveName, nothing_to_conserve
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.first_stage import FirstStage
from fdsr.modules.kinds import KINDS, Spec, kind_of, read_spec
from fdsr.modules.settings import accepted, import_path, plain

SPEC_KEY = "fdsr_spec"
KIND_KEY = "fdsr_spec_kind"
CLASS_KEY = "fdsr_class"
STAGE_KEY = "fdsr_first_stage"


class Ensemble(TypedDict, total=False):
    """What a test or prediction step returns of weather fields, in physical units; nothing of images."""

    prediction: Tensor  # (B, M, C, H, W)
    truth: Tensor  # (B, C, H, W), in tests
    low: Tensor  # (B, D, h + 2·HALO, w + 2·HALO)
    time: Tensor  # (B,) seconds since 1970
    index: Tensor  # (B,)


def read_stage(checkpoint: dict[str, Any]) -> FirstStage | None:
    """The first stage in a checkpoint, where it has one."""
    return FirstStage.from_dict(checkpoint[STAGE_KEY]) if STAGE_KEY in checkpoint else None


TargetName = Literal["residual", "field", "full", "regression"]
LocalScaleName = Literal["none", "climatological", "predicted"]


class DownscalingModule(L.LightningModule):
    """Base of all methods: subclasses implement `generate`, and `build` where they have networks.

    The grid, channels and statistics (`FieldSpec`) come from the data module when a run begins, or from the checkpoint;
    they are saved in every checkpoint, and training refuses to go on with data that differ. A trained method tests and predicts
    wherever data are of its kind: `move_to` exchanges the place, `home` stays what it was trained on. Methods that need no coarse field
    serve images (`ImageSpec`) too, without a condition.

    A method of one's own derives from this class or another of this package, passes `**kwargs` on to it, and may stand in any
    module that can be imported. Arguments that change what its weights mean, and not their shapes, it adds to `meaning`.

    Args:
        target: what x_0 is: the `residual` over interpolation, the `field` (or `full`, the same), or, of generative methods,
            the residual over a trained `regression`; each scaled by its own deviation.
        members: ensemble size in tests and predictions.
        seed: root of all noise: training draws depend on (seed, batch number, rank), evaluation on (seed, time, member).
        conserve: whether fine fields are corrected to coarsen to the coarse ones exactly, see `fdsr.modules.conservation`: `none`;
            at the `end`; of methods with a sampler every estimate of them on the way there as well, in all `steps`; `auto`: at the
            end where the training's coarse fields are block means of the fine ones, but for variables with a lower bound: of these
            dry coarse cells alone are made dry, where a threshold says which are.
    """

    whole_fields_of: str | None = (
        None  # the block whose whole fields are trained on, read by the data module; None: patches of train
    )
    interpolation: str | None = None  # what residuals are counted from; None: as the pair store says
    # see GenerativeModule
    local_scale: LocalScaleName = "none"
    stage_condition = True
    classes: ClassVar[list[type[DownscalingModule]]] = []  # every method that has been imported
    # arguments that change what weights mean, and not their shapes: a checkpoint's must be the same
    meaning: ClassVar[tuple[str, ...]] = ("target",)

    @property
    def needs_local_scale(self) -> bool:
        """Whether the pair store must know the local scale of the residual over interpolation; read by the data module."""
        return self.local_scale == "climatological" and self.target == "residual"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        DownscalingModule.classes.append(cls)

    def __init__(
        self, target: TargetName = "residual", members: int = 1, seed: int = 0, conserve: ConserveName = "auto"
    ) -> None:
        super().__init__()
        self._record_arguments()
        require_at_least(1, "model.", members=members)
        self.conserve = conserve
        self.target, self.members, self.seed = target, members, seed
        self._codec: Codec | None = None
        self._home: tuple[Any, FirstStage | None] = (None, None)
        self._validating = ExitStack()  # what ends with the validation under way
        self.adopted = False  # whether its weights are those of a model folder
        self.trained_steps = 0  # of the training that a checkpoint's weights are of

    def _record_arguments(self) -> None:
        """Every argument of the subclass, as plain values in `hparams`, so that a checkpoint can be rebuilt from itself."""
        self.save_hyperparameters(logger=False)
        own = accepted(type(self))  # type: ignore[arg-type]  # mypy looks at the hash of its instances
        values = {name: plain(value, f"model.{name}") for name, value in self.hparams.items() if name in own}
        for name in list(self.hparams):
            del self.hparams[name]
        self.hparams.update(values)

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether the module knows its data yet."""
        return self._codec is not None

    @property
    def codec(self) -> Codec:
        if self._codec is None:
            raise FdsrError(
                "the module knows no grid yet; attach a FieldSpec, load a checkpoint, or run it in a Trainer"
            )
        return self._codec

    @property
    def fields(self) -> FieldCodec:
        """The codec of weather fields. Raises FdsrError for images."""
        if not isinstance(self.codec, FieldCodec):
            raise FdsrError(f"{type(self).__name__} was given images where only weather fields will do")
        return self.codec

    @property
    def spec(self) -> Any:
        """What describes the data: a FieldSpec or an ImageSpec."""
        return self.codec.spec

    @property
    def home(self) -> Any:
        """What describes the data of the training, wherever the method is used now."""
        return self._home[0] if self._home[0] is not None else self.codec.spec

    def attach(self, spec: Spec, stage: FirstStage | None = None) -> None:
        """Give the module its grid and statistics, and build what depends on them. Once only.

        `stage` is the regression that target `regression` is counted from; without it, one comes by `begin_from`.
        """
        if self._codec is None:
            self._codec, self._home = self._make_codec(spec, stage), (spec, stage)
            try:
                self.build(self._codec)
                self.prepare(self._codec)
            except ValueError as error:  # a setting that the mathematics or a backbone refuses
                self._codec = None
                raise FdsrError(f"model: {error}") from error
            # DistributedDataParallel would send every buffer to every process before each step, validation's included, of
            # which processes may have unequally many: they would wait for each other for ever. Buffers here are equal anyway.
            self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def begin_from(self, stage: FirstStage) -> None:
        """Count the target from `stage` from now on. Raises FdsrError if it is counted from another already."""
        if self.codec.stage is not None:
            if self.codec.stage.fingerprint != stage.fingerprint:
                raise FdsrError(
                    f"the checkpoint was trained over another regression ({stage.fingerprint}, not "
                    f"{self.codec.stage.fingerprint}); use the regression it was trained with"
                )
            return
        self._recode(self.spec, stage)

    def _make_codec(self, spec: Spec, stage: FirstStage | None) -> Codec:
        make = KINDS[kind_of(spec)].codec
        return make(spec, self.target, self.interpolation, stage, self.local_scale, self.stage_condition)

    def _recode(self, spec: Spec, stage: FirstStage | None) -> None:
        """Go on with a codec that knows more than before: networks stay as they are."""
        self._home = (spec, stage)
        self._exchange(spec, stage)

    def _exchange(self, spec: Spec, stage: FirstStage | None) -> None:
        self._codec = self._make_codec(spec, stage)
        self.prepare(self._codec)
        self.to(self.device)

    def move_to(self, spec: FieldSpec) -> None:
        """Serve the place of `spec`, which is `home` at that place (see `fdsr.data.place`): networks stay as they are.

        Raises FdsrError where the method needs a local scale, which is known where it was measured alone.
        """
        home, stage = self._home
        if spec is self.spec:
            return
        if stage is not None and stage.local_scale.numel():
            stage = replace(stage, local_scale=require_inside(home, stage.local_scale, spec.grid, "a local scale"))
        if self.local_scale == "climatological":  # of a second stage even before it has been measured
            require_inside(home, torch.zeros(1, *home.shape), spec.grid, "a local scale")
        self._exchange(spec, stage)

    @contextmanager
    def at_split(self, split: str) -> Iterator[None]:
        """Serve the place of another block of the data for a while, where that is another: splits by region have one each."""
        before, data = self.spec, self._datamodule()
        there = data.elsewhere(split) if isinstance(before, FieldSpec) and hasattr(data, "elsewhere") else None
        if there is not None:
            self.move_to(there)
        yield
        if there is not None:
            self.move_to(before)

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == "fit":
            self._validating.enter_context(self.at_split("val"))

    def on_validation_end(self) -> None:
        self._validating.close()

    def build(self, codec: Codec) -> None:
        """Make networks for these data. Nothing by default."""

    def prepare(self, codec: Codec) -> None:
        """Make what follows from the statistics of these data's target and has no weights. Nothing by default."""

    def configure_model(self) -> None:
        if self.attached:
            self._require_kind(self._datamodule())
        else:
            # Lightning would have every new tensor on the device it trains on, where tables are not yet, and where seeds draw
            # other weights
            with torch.device("cpu"):
                self.attach(self.trainer.datamodule.spec)  # type: ignore[attr-defined]
            for split in getattr(self._datamodule(), "regions", ()):
                with self.at_split(split):  # what cannot go there is refused now, and not after a training
                    pass

    def _require_kind(self, data: Any) -> None:
        """Go where the data of a test or prediction are. Raises FdsrError where they are of another kind."""
        if self.trainer.state.fn == "fit":
            return
        if isinstance(self.home, FieldSpec) and hasattr(data, "serve"):
            self.move_to(data.serve(self.home))
            return
        if not hasattr(data, "spec"):
            return
        if kind_of(self.home) != kind_of(data.spec):
            raise FdsrError(f"the checkpoint was trained on {kind_of(self.home)}, the data are {kind_of(data.spec)}")
        self.home.require_same(data.spec, getattr(data, "path", None) or "data")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        home, stage = self._home
        checkpoint[SPEC_KEY], checkpoint[KIND_KEY] = home.to_dict(), kind_of(home)
        checkpoint[CLASS_KEY] = import_path(type(self))
        if stage is not None:
            checkpoint[STAGE_KEY] = stage.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if SPEC_KEY not in checkpoint:
            raise FdsrError("the checkpoint holds no grid or statistics; it was not written by fdsr")
        self.trained_steps = int(checkpoint.get("global_step", 0))
        require_agreement(self.meaning, checkpoint.get("hyper_parameters", {}), self.hparams)
        saved: Any = read_spec(checkpoint[SPEC_KEY], checkpoint.get(KIND_KEY, "fields"))
        stage = read_stage(checkpoint)
        if not self.attached:
            self.attach(saved, stage)
            return
        if kind_of(saved) != kind_of(self.spec):
            raise FdsrError(f"the checkpoint was trained on {kind_of(saved)}, the data are {kind_of(self.spec)}")
        saved.require_same(self.home, getattr(self._datamodule(), "path", None) or "data")
        # what was trained with, and perhaps not in this store
        if self.needs_local_scale and saved.local_scale is not None and self.spec is self.home:
            self._recode(
                replace(self.spec, local_scale=saved.local_scale, power_local=saved.power_local), self.codec.stage
            )
        if stage is not None and self.target == "regression":
            self.begin_from(stage)

    def _datamodule(self) -> Any:
        return getattr(self._trainer, "datamodule", None) if self._trainer else None

    @property
    def begins(self) -> bool:
        """Whether a training begins with fresh weights: neither a checkpoint brings some nor did a model folder."""
        return self.trainer.ckpt_path is None and not self.adopted

    # -- conservation ----------------------------------------------------------------------------------------------

    @property
    def conserve(self) -> ConserveName:
        """See the class; may be set at any time."""
        return self._conserve

    @conserve.setter
    def conserve(self, name: ConserveName) -> None:
        require_choice(name, ConserveName, "conserve")
        self._conserve = name

    @property
    def conserves(self) -> ConserveName:
        """What `conserve` comes to for these data: `none`, `end` or `steps`."""
        if self.conserve == "auto":
            spec = self.fields.spec
            none = all(t.lower is not None and not hasattr(t, "threshold") for t in spec.high_transforms)
            return "none" if none or nothing_to_conserve(spec) else "end"
        return self.conserve

    def conserving(self, batch: Batch) -> Conservation | None:
        """The projection that ends the members of a batch; None where nothing is corrected, as in patches, which are of no place."""
        if self.conserves == "none" or "rows" in batch:
            return None
        return Conservation(self.fields.spec, bounded=self.conserve != "auto")

    # -- evaluation ------------------------------------------------------------------------------------------------

    @property
    def evaluations_per_member(self) -> int:
        """Network evaluations (NFE) that one member costs."""
        return 0

    @property
    def ensemble_size(self) -> int:
        """Members in tests and predictions: 1 of a deterministic method."""
        return self.members

    def moments(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Of a deterministic method: its forecast (B, C, H, W) in physical units, and where it gives one the deviation of its
        error, in standardised, transformed values.
        """
        return self.generate(batch, 1, 0)[:, 0], None

    def generate(self, batch: Batch, members: Any, seed: int) -> Tensor:
        """An ensemble of fine fields (B, M, C, H, W) in physical units: the first so many members.

        Members are seeded by (seed, time, member): the result does not depend on batch size or process count. M is 1
        for a deterministic method, whatever `members` asks.
        """
        raise NotImplementedError

    @torch.no_grad()
    def test_step(self, batch: Batch, batch_idx: int) -> Ensemble:
        if not isinstance(self.codec, FieldCodec):
            return {}  # images are judged as a set of samples, not one by one
        prediction = self.generate(batch, self.members, self.seed)
        return {
            "prediction": prediction,
            "truth": batch["high"],
            "low": batch["low"],
            "time": batch["time"],
            "index": batch["index"],
        }

    @torch.no_grad()
    def predict_step(self, batch: Batch, batch_idx: int) -> Ensemble:
        # those of a piece of the ensemble, of the first one by their number, which every method understands
        streams = batch["streams"][0].tolist() if "streams" in batch else range(self.members)
        prediction = self.generate(batch, len(streams) if streams[0] == 0 else streams, self.seed)
        return {"prediction": prediction, "low": batch["low"], "time": batch["time"], "index": batch["index"]}
