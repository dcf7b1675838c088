"""What is told to stop says so in one line, keeps what it has, and ends with its signal's status."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fdsr.modules.network import NetworkModule

Program = Callable[..., int]
Configure = Callable[..., Path]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is heard: not in what a shell starts in the background, whose processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stop_at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int, number: int) -> None:
    """The process sends itself the signal when `name` is called for the call-th time."""
    method, calls = getattr(owner, name), iter(range(1, 1000))

    def stopped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            signal.raise_signal(number)
        return method(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, stopped)


def test_ctrl_c_ends_a_fit_that_can_go_on(
    program: Program,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    config = configure(checkpoint__every_n_train_steps=2, trainer__max_steps=6, trainer__enable_progress_bar=True)
    common = ("fit", "--config", config, "--run", tmp_path / "run")
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, NetworkModule, "training_step", 4, signal.SIGINT)
        assert program(*common) == 130
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "fdsr: interrupted; finished work is kept" and "Traceback" not in "".join(said)
    assert signal.getsignal(signal.SIGINT) is handler  # the next Ctrl-C is heard as well
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert program(*common, "--ckpt_path", "last") == 0
    assert torch.load(last, weights_only=True)["global_step"] == 6


@pytest.mark.parametrize(
    ("verb", "step"), [("validate", "validation_step"), ("test", "test_step"), ("predict", "predict_step")]
)
def test_ctrl_c_ends_every_verb(
    program: Program, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, step: str,
    capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    config, fitted = trained
    stop_at(monkeypatch, NetworkModule, step, 2, signal.SIGINT)
    run = tmp_path / "run"
    assert program(verb, "--config", config, "--ckpt_path", fitted / "checkpoints" / "last.ckpt", "--run", run) == 130
    assert capfd.readouterr().err.splitlines() == ["fdsr: interrupted; finished work is kept"]
    assert not (run / "test_metrics.csv").exists() and not (run / "prediction.zarr").exists()


def test_sigterm_is_no_success(
    program: Program,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    stop_at(monkeypatch, NetworkModule, "training_step", 2, signal.SIGTERM)
    with pytest.raises(SystemExit) as ending:
        program("fit", "--config", configure(), "--run", tmp_path / "run")
    assert ending.value.code == 143
    assert capfd.readouterr().err.splitlines() == ["fdsr: terminated; finished work is kept"]
