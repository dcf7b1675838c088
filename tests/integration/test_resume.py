"""A fit that is killed and resumed is the fit that was never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

# the program, slowed so that the kill comes in the midst of an epoch
SLOW_PROGRAM = """
import functools, sys, time
from fdsr.modules.network import NetworkModule
step = NetworkModule.training_step
@functools.wraps(step)
def slow(self, batch, batch_idx):
    time.sleep(0.15)
    return step(self, batch, batch_idx)
NetworkModule.training_step = slow
from fdsr.cli import main
sys.exit(main(sys.argv[1:]))
"""
SETTINGS = {
    "trainer__max_steps": 26, "trainer__val_check_interval": 8, "trainer__check_val_every_n_epoch": None,
}  # fmt: skip


def losses(run: Path) -> dict[int, list[float]]:
    """Every loss logged for each step; a killed line at the end is left out."""
    found: dict[int, list[float]] = {}
    for text in (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if "train_loss" in line:
            found.setdefault(line["step"], []).append(line["train_loss"])
    return found


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the program made no progress"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_killed_fit_follows_the_uninterrupted_one(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path, world: Path, number: int, status: int
) -> None:
    """Ten batches an epoch; checkpoints every three steps; killed after step 14, in the middle of the second epoch."""
    config = configure(checkpoint__every_n_train_steps=3, **SETTINGS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert program("fit", "--config", config, "--run", whole) == 0

    environment = os.environ | {"OMP_NUM_THREADS": "1", "FDSR_CACHE": str(world / "cache")}
    command = [sys.executable, "-c", SLOW_PROGRAM, "fit", "--config", str(config), "--run", str(killed)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: max(losses(killed), default=0) >= 13, process)
        process.send_signal(number)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait(timeout=60)
    assert process.returncode == status  # a sweep takes 0 for a finished training
    before = losses(killed)
    checkpoint = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)
    step = checkpoint["global_step"]
    assert 9 <= step <= max(before) + 1 < 26 and step % 10, "the kill came too late to show anything"

    assert program("fit", "--config", config, "--run", killed, "--ckpt_path", "last") == 0
    after, expected = losses(killed), losses(whole)
    assert sorted(expected) == sorted(after) == list(range(26))
    # steps after the checkpoint ran twice; both times, and all others, to the last bit
    assert [len(after[s]) for s in range(26)] == [1 + (step <= s <= max(before)) for s in range(26)]
    for s in range(26):
        assert after[s] == expected[s] * len(after[s]), s
    ends = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, killed)]
    for part in ("state_dict", "fdsr_raw_weights"):
        assert all(torch.equal(ends[0][part][name], ends[1][part][name]) for name in ends[0][part]), part


@pytest.mark.slow
def test_a_finished_fit_can_be_lengthened(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    """Not a resumption: training ends an epoch early, so the further steps see other patches than one long fit."""
    config, run = configure(**SETTINGS), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run, "--trainer.max_steps", 13) == 0
    first = losses(run)
    assert program("fit", "--config", config, "--run", run, "--ckpt_path", "last") == 0
    assert sorted(losses(run)) == list(range(26)) and all(losses(run)[s] == first[s] for s in range(13))
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == checkpoint["fdsr_ema_updates"] == 26


@pytest.mark.slow
@pytest.mark.parametrize("method", ["RegressionModule", "DDGANModule"])
def test_a_resumed_fit_has_the_rates_and_the_batches_of_its_settings(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    """config.yaml, which says what was asked for, tells the truth."""
    config, run = configure(method, "resumed"), tmp_path / "run"
    fit = ("fit", "--config", config, "--run", run, "--model.init_args.warmup_steps", "1")
    assert program(*fit, "--trainer.max_steps", "4", "--model.init_args.lr", "1e-3") == 0
    before = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    asked = ("--model.init_args.lr", "1e-9", "--data.init_args.batch_size", "2")
    if method == "DDGANModule":
        asked = (*asked, "--model.init_args.discriminator_lr", "1e-9")
    assert program(*fit, "--ckpt_path", "last", "--trainer.max_steps", "8", *asked) == 0
    after = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    said = yaml.safe_load((run / "config.yaml").read_text())
    assert said["model"]["init_args"]["lr"] == 1e-9 and said["data"]["init_args"]["batch_size"] == 2
    assert all(s["base_lrs"] == [1e-9] for s in after["lr_schedulers"])
    assert all(0 < g["lr"] <= 1e-9 for o in after["optimizer_states"] for g in o["param_groups"])
    for name, raw in before["fdsr_raw_weights"].items():
        torch.testing.assert_close(after["fdsr_raw_weights"][name], raw, rtol=0, atol=1e-7)
    assert after["global_step"] > before["global_step"]


def test_a_finished_fit_keeps_its_record(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    """Gone on with where nothing is left to train, and overwritten by another: nothing of the first stands beside that."""
    config, run = configure("DDPMModule", trainer__max_steps=3, trainer__limit_val_batches=0), tmp_path / "run"
    assert program("fit", "--config", config, "--run", run) == 0
    first = json.loads((run / "run.json").read_text())["fit"]
    assert program("fit", "--config", config, "--run", run, "--ckpt_path", "last") == 0
    again = json.loads((run / "run.json").read_text())["fit"]
    assert {n: again[n] for n in ("steps", "samples_seen", "seconds")} == {
        n: first[n] for n in ("steps", "samples_seen", "seconds")
    }
    assert program("test", "--config", config, "--run", run, "--trainer.limit_test_batches", 1) == 0
    (run / "checkpoints" / "old.ckpt").write_text("")
    (run / "hpc_ckpt_1.ckpt").write_text("")  # of a batch system's signal
    assert program("fit", "--config", config, "--run", run, "--overwrite", "true", "--trainer.max_steps", 2) == 0
    assert not (run / "hpc_ckpt_1.ckpt").exists()
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt"} and not (
        run / "test_metrics.csv"
    ).exists()
    assert set(losses(run)) <= {0, 1} and "test" not in json.loads((run / "run.json").read_text())


def test_last_is_the_last_wherever_the_folder_stands(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    config, often = configure("DDPMModule", trainer__limit_val_batches=0), ("--checkpoint.every_n_train_steps", 2)
    assert program("fit", "--config", config, "--run", tmp_path / "before", *often, "--trainer.max_steps", 4) == 0
    (tmp_path / "before").rename(tmp_path / "after")
    last = tmp_path / "after" / "checkpoints" / "last.ckpt"
    again = (*often, "--ckpt_path", "last", "--trainer.max_steps", 8)
    assert program("fit", "--config", config, "--run", tmp_path / "after", *again) == 0
    assert [p.name for p in last.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(last, weights_only=True)["global_step"] == 8


def test_the_best_weights_are_those_that_were_validated(
    program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    """Also those of the last validation, and though checkpoints of the last weights come at other steps."""
    config = configure(
        "DDPMModule", trainer__max_steps=12, trainer__val_check_interval=4, trainer__check_val_every_n_epoch=None,
        model__lr=1e-2,
    )  # fmt: skip
    asked = ("--checkpoint.every_n_train_steps", 3, "--checkpoint.monitor", "val_loss", "--checkpoint.save_top_k", 1)
    assert program("fit", "--config", config, "--run", tmp_path / "run", *asked) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = {line["step"] + 1: line["val_loss"] for line in lines if "val_loss" in line}
    (best,) = (p for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name != "last.ckpt")
    assert len(found) == 3 and torch.load(best, weights_only=True)["global_step"] == min(
        found, key=lambda step: found[step]
    )
    assert "monitor: val_loss" in (tmp_path / "run" / "config.yaml").read_text()
