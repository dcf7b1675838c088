"""The settings of fit, validate, test and predict, and what surrounds Lightning's own doing of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from fdsr import callbacks
from fdsr.callbacks.wandb_logger import RunLogger, wandb_mode
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule
from fdsr.modules.agreement import require_agreement
from fdsr.modules.conservation import ConserveName
from fdsr.modules.interpolation import UntrainedModule
from fdsr.modules.pretrained import load_module, read_checkpoint
from fdsr.records import RunFolder
from fdsr.scores import IMAGE_SCORES
from fdsr.training.endings import INTERRUPTED, TERMINATED, ctrl_c_is_ctrl_c
from fdsr.training.own_pairs import take_store
from fdsr.training.progress import Progress
from fdsr.training.refusals import require_output, require_trainer

# name, type, default and help of what is given beside Lightning's own
_OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("store", str, None,
     "A pair store to use instead of the configuration's, whose settings of how pairs are made (source, variables, factor, split and "
     "the like) are left out: the store knows its own."),
    ("overwrite", bool, False, "Replace results that exist already."),
    ("output", str, None, "Zarr store, or NetCDF file (.nc), that predict writes (default: in --run)."),
    ("sharded", bool, False, "Keep each map that predict writes as a shard of smaller chunks, to read parts of large ones."),
    ("wandb", Literal["off", "offline", "online"] | None, None,
     "Weights & Biases beside the run's own record, of fit and test (default: WANDB_MODE, or else offline)."),
    ("metrics", list[str] | str | None, None,
     "Metrics of a test: names, or paths of classes of your own; with a plus before a name, beside the default ones, as "
     "in --metrics +weather_frechet. In training the callbacks' own settings count."),
    ("blocks", int | None, None,
     "Side in points of the tiles whose sums a test keeps one by one, beside its scores, for intervals by drawing them again."),
    ("tile", str | None, None, "How whole fields are evaluated: auto, off, or ROWSxCOLUMNS (default: model.tile)."),
    ("conserve", ConserveName | None, None,
     "Whether fine fields coarsen to the coarse ones exactly: corrected at the end, in all steps, none, or auto, at the end "
     "where coarse fields are block means, but for rain and its like (default: model.conserve)."),
)  # fmt: skip


class FdsrCLI(LightningCLI):
    """LightningCLI with a run directory, weight averaging, run records and safe checkpoints always on."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            DownscalingModule, L.LightningDataModule, subclass_mode_model=True, subclass_mode_data=True,
            save_config_callback=None, seed_everything_default=0, parser_kwargs={"exit_on_error": False, "prog": "fdsr"}, **settings,
        )  # fmt: skip

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verb that is asked for, or all: each costs the time of a parser of every setting."""
        every = LightningCLI.subcommands()
        return {verb: every[verb] for verb in sys.argv[1:2] if verb in every} or every

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name, kind, default, about in _OPTIONS:
            parser.add_argument(f"--{name}", type=kind, default=default, help=about)
        # one seed for everything: weights, noise, patches
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_seed)
        parser.add_lightning_class_args(callbacks.EMACallback, "ema")
        parser.add_lightning_class_args(callbacks.CompileCallback, "compile")
        parser.add_lightning_class_args(callbacks.TrainingGuard, "guard")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        kept = {
            "save_last": True, "save_top_k": 0, "every_n_train_steps": 200, "save_on_train_epoch_end": False,
            # last.ckpt is the last one, whoever wrote the one before and wherever the folder stood then
            "enable_version_counter": False,
        }  # fmt: skip
        parser.set_defaults({f"checkpoint.{name}": value for name, value in kept.items()})

    @property
    def _values(self) -> Any:
        return self.config[self.subcommand] if self.subcommand else self.config  # bench-data runs none

    @property
    def run_folder(self) -> RunFolder:
        """The run's directory: --run, or runs/ and the configuration's name."""
        return RunFolder(self._values.trainer.default_root_dir or Path("runs") / (self._configuration or "default"))

    @property
    def _configuration(self) -> str:
        """The name of the configuration file, the last of several; empty where there is none."""
        return Path(str(files[-1])).stem if (files := self._values.get("config")) else ""

    def _parse_ckpt_path(self) -> None:
        """Nothing: the configuration says what is built; a checkpoint that differs is refused when it is loaded."""

    def before_instantiate_classes(self) -> None:
        values, folder = self._values, self.run_folder
        if values.store is not None:
            take_store(values.data, values.store, sys.argv)
        values.trainer.default_root_dir = str(folder)
        if "checkpoint" in values:
            values.checkpoint.dirpath = str(folder.checkpoints)
        if values.trainer.precision is None:
            # half precision pays where there are tensor cores; weights and losses stay in float32, and so do evaluations
            half = self.subcommand == "fit" and torch.cuda.is_available() and values.trainer.accelerator != "cpu"
            values.trainer.precision = "bf16-mixed" if half else "32-true"
        ckpt_path = values.get("ckpt_path")
        if self.subcommand == "fit" and not ckpt_path and not values.overwrite and folder.last_checkpoint.exists():
            raise FdsrError(
                f"run '{folder}' has a checkpoint already; continue it with --ckpt_path last, replace it with --overwrite true, "
                "or choose another --run"
            )
        require_trainer(values.trainer)
        require_output(values.output)
        _require_writable(folder.path)
        self._recorded = self._parser(self.subcommand).dump(values) if self.subcommand else ""
        self._best = _take_best(values.checkpoint) if "checkpoint" in values else {}

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        for setting in ("tile", "conserve"):
            if (value := self._values.get(setting)) is None:
                continue
            if not hasattr(self.model, setting):
                raise FdsrError(f"{type(self.model).__name__} has no network of its own for --{setting}; leave it out")
            setattr(self.model, setting, value)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        values, folder = self._values, self.run_folder
        method = folder.method(self._configuration or folder.name)
        if values.trainer.logger is None:
            kwargs["logger"] = [callbacks.JSONLLogger(folder), *self._wandb_loggers()]
        best = [ModelCheckpoint(folder.checkpoints, **self._best)] if self._best else []
        progress = [] if values.trainer.enable_progress_bar is False else [Progress()]
        kwargs["callbacks"] = [
            *(self._get(self.config_init, "trainer.callbacks") or []),
            *best,
            callbacks.Rates(),
            callbacks.RunRecord(folder, method, self._recorded, fresh=values.overwrite),
            callbacks.ScoreRecorder(folder, method, values.overwrite, values.metrics, values.blocks),
            callbacks.PredictionWriter(values.output or folder.prediction, values.overwrite, values.sharded),
            *progress,
        ]
        # samplers here know ranks themselves
        return super().instantiate_trainer(use_distributed_sampler=False, **kwargs)

    def _wandb_loggers(self) -> list[RunLogger]:
        """One where there is something to log and it is wanted."""
        values, mode = self._values, wandb_mode(self._values.wandb)
        if self.subcommand not in ("fit", "test") or mode == "off":
            return []
        config = yaml.safe_load(self._recorded)
        checkpoint = values.get("ckpt_path")
        # from the last checkpoint, or from one that a batch system's signal left in the run's own folder
        resume = bool(checkpoint) and (checkpoint == "last" or Path(checkpoint).is_relative_to(self.run_folder.path))
        resume = resume and self.subcommand == "fit"
        return [RunLogger(self.run_folder, self.subcommand, config, mode == "online", resume)]

    def _run_subcommand(self, subcommand: str) -> None:
        status = 1
        try:
            with ctrl_c_is_ctrl_c():
                super()._run_subcommand(subcommand)
            status = 0
        except (KeyboardInterrupt, SIGTERMException) as ending:
            status = INTERRUPTED if isinstance(ending, KeyboardInterrupt) else TERMINATED
            raise
        finally:
            for logger in self._run_loggers():
                logger.close(status)

    def _run_loggers(self) -> list[RunLogger]:
        return [logger for logger in self.trainer.loggers if isinstance(logger, RunLogger)]

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        kwargs["weights_only"] = True
        kwargs["ckpt_path"] = self._checkpoint(kwargs.get("ckpt_path"))
        if subcommand == "predict":
            kwargs["return_predictions"] = False
        if subcommand in ("validate", "test"):
            kwargs["verbose"] = False
        return kwargs

    def _checkpoint(self, path: str | None) -> str | None:
        """The checkpoint to load, checked before Lightning sees it. A model folder is loaded here and now."""
        assert isinstance(self.model, DownscalingModule)
        last = self.run_folder.last_checkpoint
        if isinstance(self.model, UntrainedModule):
            return None
        if path is None:
            if self.subcommand == "fit":
                if self._values.overwrite:  # Lightning would go on from them under Slurm
                    for requeued in self.run_folder.requeued:
                        requeued.unlink(missing_ok=True)
                return None
            if not last.exists():
                raise FdsrError(f"there is no checkpoint in '{self.run_folder}'; train first, or give --ckpt_path")
        if path in (None, "last"):
            path = str(last)
        if path == "best":
            raise FdsrError(
                "--ckpt_path best names no file; keep the best by --checkpoint.monitor val_loss --checkpoint.save_top_k 1 in "
                f"training, and name what stands in '{last.parent}' then"
            )
        if Path(path).is_dir():
            # Lightning would load it under Slurm, in place of the folder's weights
            if left := self.run_folder.requeued:
                raise FdsrError(
                    f"run '{self.run_folder}' has a training's '{left[0].name}'; choose another --run for '{path}'"
                )
            self._adopt(path)
            return None
        checkpoint = read_checkpoint(path)
        if self.subcommand != "fit":
            # what it was trained on says what it is; the data may lie elsewhere
            self.model.on_load_checkpoint(checkpoint)
        return path

    def _adopt(self, folder: str) -> None:
        """Take network and statistics from a model folder; sampling settings stay those of the configuration."""
        loaded = load_module(folder)
        if type(loaded) is not type(self.model):
            raise FdsrError(
                f"model folder '{folder}' holds a {type(loaded).__name__}, the configuration a {type(self.model).__name__}"
            )
        require_agreement(self.model.meaning, loaded.hparams, self.model.hparams)
        self.model.attach(loaded.home, loaded.codec.stage)
        try:
            self.model.load_state_dict(loaded.state_dict())
            self.model.adopted = True
        except RuntimeError as error:
            raise FdsrError(
                f"model folder '{folder}' has another network than the configuration; use the configuration it names"
            ) from error

    def after_validate(self) -> None:
        if self.trainer.is_global_zero:
            _print_values(self.trainer.callback_metrics)

    def after_test(self) -> None:
        if self.trainer.is_global_zero:
            from fdsr.report.compare import compare_runs
            from fdsr.report.runs import read_run
            from fdsr.report.studies import make_studies
            from fdsr.report.wandb.results import log_test

            folder = self.run_folder
            if folder.table.exists():
                run = read_run(folder.path)
                compare_runs([run], make_studies([run]), folder.path)
            elif measured := folder.tested_distances():  # of images
                _print_values({k: v for k, v in measured.items() if k.startswith(tuple(IMAGE_SCORES))})
                print(f"distances: {folder.distances}\nsamples:   {folder.last_picture('test')}")
            else:
                print("no scores: a test of images is measured by fdsr.callbacks.FIDCallback among trainer.callbacks")
            for logger in self._run_loggers():
                logger.log_record()
                logger.share(lambda experiment: log_test(experiment, self.run_folder))

    def after_fit(self) -> None:
        last = self.run_folder.last_checkpoint
        # a method without optimiser steps (a dressed baseline) is not saved by the checkpoint callback
        self.trainer.save_checkpoint(last, weights_only=False)
        if self.trainer.is_global_zero:
            print(f"checkpoint: {last}")
            for logger in self._run_loggers():
                logger.log_record()

    def after_predict(self) -> None:
        if self.trainer.is_global_zero:
            print(f"prediction: {self._values.output or self.run_folder.prediction}")


def _print_values(values: Mapping[str, Any]) -> None:
    print("  ".join(f"{name} {float(value):.6g}" for name, value in values.items()))


def _take_best(values: Any) -> dict[str, Any]:
    """Settings of a checkpoint of the best weights, written after validations, out of those of the last ones; empty where none is asked.

    Together Lightning would score weights of some steps after a validation by that validation's loss, and never those of the last.
    """
    if not values.monitor:
        return {}
    best = {name: values[name] for name in ("filename", "monitor", "mode", "save_top_k", "save_weights_only")}
    values.monitor, values.save_top_k = None, 0
    return best | {"save_on_train_epoch_end": False}


def _seed(value: bool | int) -> int:
    """Lightning's `seed_everything` may also be true or false."""
    return 0 if isinstance(value, bool) else value


def _require_writable(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FdsrError(f"run directory '{run_dir}' cannot be made: {error.strerror}; choose another --run") from error
    if not os.access(run_dir, os.W_OK):
        raise FdsrError(f"run directory '{run_dir}' is not writable; choose another --run")
