"""A run's logger to Weights & Biases: offline unless asked otherwise, and never the reason why a run fails."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from fdsr.callbacks.logged_names import RECORD
from fdsr.errors import FdsrError, one_line
from fdsr.records import RunFolder

log = logging.getLogger(__name__)

_PROJECT = "fdsr"
# what --wandb and WANDB_MODE may say
_MODES = {"off": "off", "disabled": "off", "offline": "offline", "dryrun": "offline", "online": "online"}


def wandb_mode(asked: str | None) -> str:
    """off, offline or online: as asked for, else as WANDB_MODE says, else offline. Off where wandb is not installed.

    Raises FdsrError for a WANDB_MODE that means none of them, or if a mode is asked for and wandb is not installed.
    """
    said = asked or os.environ.get("WANDB_MODE") or "offline"
    if said not in _MODES:
        raise FdsrError(f"WANDB_MODE is '{said}'; it must be online, offline or disabled")
    if _MODES[said] != "off" and importlib.util.find_spec("wandb") is None:
        if asked:
            raise FdsrError("--wandb needs the wandb package; install it with: pip install wandb")
        return "off"
    return _MODES[said]


class RunLogger(WandbLogger):
    """Logs one stage of a run, in `run_dir`/wandb, with the run's whole configuration; rank zero alone.

    A stage is a W&B run of its own, so that scores of a test are not mixed up with those of a training; its id stands
    in the run's folder, and a fit that is resumed goes on with its own. WANDB_PROJECT, WANDB_ENTITY and WANDB_RUN_ID are
    followed, as a sweep's agent expects.

    The run's own record is what counts. If W&B fails, offline at its start or at any time later, one line says so and the
    run goes on without it; only an online run that cannot start ends with an FdsrError, since it was asked for.

    Args:
        stage: fit or test; the W&B run's job type.
        config: the resolved configuration.
        resume: go on with the stage's last W&B run if there is one.
    """

    def __init__(
        self,
        run_dir: str | PathLike[str],
        stage: str,
        config: Mapping[str, Any],
        online: bool = False,
        resume: bool = False,
    ) -> None:
        self.folder, self.stage, self.online = RunFolder(run_dir), stage, online
        self.failed = False
        known = self.folder.wandb_runs.read().get(stage) if resume else None
        # nothing of the console, of the code or of the machine: the run's record has what counts, and progress bars redraw themselves
        settings: dict[str, Any] = {"silent": not online, "console": "off", "disable_git": True, "disable_code": True}
        # measured every few seconds, they would outgrow the metrics of a long run
        settings |= {} if online else {"x_disable_stats": True}
        super().__init__(
            name=self.folder.name, project=os.environ.get("WANDB_PROJECT", _PROJECT), save_dir=str(run_dir),
            id=os.environ.get("WANDB_RUN_ID") or known or f"{stage}-{secrets.token_hex(4)}",
            mode="online" if online else "offline", job_type=stage, group=self.folder.name, config=dict(config),
            settings=settings,
        )  # fmt: skip
        del self._wandb_init["anonymous"]  # which Lightning passes, and wandb warns of

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self.failed:
            return DummyLogger().experiment
        if self._experiment is None:
            if not self.online:
                # errors would be reported to the makers of W&B, over the network
                os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            try:
                found = super().experiment
            except Exception as error:
                if self.online:
                    raise FdsrError(
                        f"Weights & Biases cannot start: {one_line(error)}; log in with 'wandb login', or use --wandb offline"
                    ) from error
                self._give_up(error)
                return DummyLogger().experiment
            self.folder.wandb_runs.write(self.folder.wandb_runs.read() | {self.stage: found.id})
        return self._experiment

    @rank_zero_only
    def share(self, what: Callable[[Any], None]) -> None:
        """Call `what` with the W&B run; an error there ends the logging and not the run. Rank zero alone."""
        experiment = self.experiment
        if self.failed:
            return
        try:
            what(experiment)
        except Exception as error:
            self._give_up(error)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.share(lambda _: super(RunLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration holds them."""

    def log_record(self) -> None:
        """Add the run's record, as it stands in its folder, to the W&B run's configuration."""
        if record := self.folder.record.read():
            self.share(lambda experiment: experiment.config.update({RECORD: record}, allow_val_change=True))

    def close(self, status: int = 0) -> None:
        """End the W&B run with an exit status. Another may then begin in this process."""
        if self._experiment is not None and not self.failed:
            self.share(lambda experiment: experiment.finish(status))
        self._experiment = None

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        log.warning("Weights & Biases failed and is left out from here on: %s", one_line(error))
