"""The logger to W&B: which mode, which run, and that its failures are not the run's."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import wandb

from fdsr.callbacks.wandb_logger import RunLogger, wandb_mode
from fdsr.errors import FdsrError
from fdsr.records import RunFolder


class Run:
    """A W&B run that fails from its `lasts`-th call on."""

    id = "abc"

    def __init__(self, lasts: int) -> None:
        self.lasts, self.logged = lasts, list[dict[str, Any]]()

    def log(self, values: dict[str, Any]) -> None:
        self.lasts -= 1
        if self.lasts < 0:
            raise ConnectionResetError("Connection lost")
        self.logged.append(values)

    def define_metric(self, *args: Any, **kwargs: Any) -> None: ...

    def finish(self, status: int) -> None:
        self.log({"status": status})


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        (None, None, "offline"),
        (None, "disabled", "off"),
        (None, "online", "online"),
        ("offline", "disabled", "offline"),
        ("off", "online", "off"),
    ],
)
def test_the_option_goes_before_the_environment(
    asked: str | None, environment: str | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert wandb_mode(asked) == mode


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(FdsrError, match="WANDB_MODE is 'sometimes'"):
        wandb_mode(None)


def test_without_wandb_only_a_wish_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert wandb_mode(None) == "off"
    with pytest.raises(FdsrError, match="pip install wandb"):
        wandb_mode("offline")


def test_a_resumed_fit_keeps_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[dict[str, Any]]()

    def init(**arguments: Any) -> Run:
        started.append(arguments)
        run = Run(10)
        run.id = arguments["id"]
        return run

    monkeypatch.setattr(wandb, "init", init)
    for stage, resume in (("fit", False), ("fit", True), ("test", False), ("fit", False)):
        logger = RunLogger(tmp_path, stage, {"model": {"steps": 3}}, resume=resume)
        assert not (tmp_path / "wandb").exists()  # nothing before the first value
        logger.log_metrics({"train_loss": 1.0}, step=0)
        logger.close()
    first, resumed, test, fresh = (arguments["id"] for arguments in started)
    assert first == resumed and len({first, test, fresh}) == 3
    assert RunFolder(tmp_path).wandb_runs.read() == {"fit": fresh, "test": test}
    assert all(a["mode"] == "offline" and a["dir"] == str(tmp_path) and a["resume"] == "allow" for a in started)
    assert started[0]["config"] == {"model": {"steps": 3}} and started[2]["job_type"] == "test"
    monkeypatch.setenv("WANDB_RUN_ID", "agent1")  # a sweep's agent knows the run by this
    RunLogger(tmp_path, "fit", {}, resume=True).log_metrics({}, step=0)
    assert started[-1]["id"] == "agent1"


def test_it_may_die_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(lasts=1)
    monkeypatch.setattr(wandb, "init", lambda **arguments: run)
    logger = RunLogger(tmp_path, "fit", {})
    with caplog.at_level(logging.WARNING):
        for step in range(4):
            logger.log_metrics({"train_loss": 1.0}, step=step)
        (tmp_path / "run.json").write_text("{}")
        logger.log_record()
        logger.experiment.log({})
        logger.close(0)
    assert run.logged == [{"train_loss": 1.0, "trainer/global_step": 0}]
    assert [r.getMessage() for r in caplog.records] == [
        "Weights & Biases failed and is left out from here on: Connection lost"
    ]


def test_only_an_online_run_must_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def init(**arguments: Any) -> Run:
        raise wandb.errors.UsageError("api_key not configured\n(no-tty)")

    monkeypatch.setattr(wandb, "init", init)
    with caplog.at_level(logging.WARNING):
        logger = RunLogger(tmp_path, "fit", {})
        logger.log_metrics({"train_loss": 1.0}, step=0)
        logger.close()
    assert len(caplog.records) == 1 and RunFolder(tmp_path).wandb_runs.read() == {}
    with pytest.raises(FdsrError, match=r"cannot start: api_key not configured \(no-tty\); log in with"):
        RunLogger(tmp_path, "fit", {}, online=True).log_metrics({"train_loss": 1.0}, step=0)


def test_a_broken_table_of_runs_is_refused(tmp_path: Path) -> None:
    for text in ("{", json.dumps(["fit"])):
        (tmp_path / "wandb_runs.json").write_text(text)
        with pytest.raises(FdsrError, match=r"wandb_runs\.json' is .*; remove it, and the next run gets a new id"):
            RunLogger(tmp_path, "fit", {}, resume=True)
