"""Sweeps of the program itself on tiny images: killed in mid-fit and resumed, tested, tabulated and drawn."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from synthetic import TINY_DDGAN, TINY_UNET
from tiny_images import write_idx

CALLBACK = "fdsr.callbacks.FIDCallback"
STEPS, BATCH = 60, 20


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A GAN of two steps and a DDPM of three with a short sampler, on 120 images of noise."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for kind, n in (("train", 120), ("t10k", 90)):
        write_idx(images / f"{kind}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(images / f"{kind}-labels-idx1-ubyte", rng.integers(0, 10, n, dtype=np.uint8))

    def config(name: str, arguments: dict[str, Any]) -> None:
        content = {
            "data": {
                "class_path": "fdsr.data.FashionMNISTDataModule",
                "init_args": {"folder": str(images), "verify": False, "batch_size": BATCH},
            },
            "model": {"class_path": f"fdsr.modules.{name}", "init_args": arguments},
            "checkpoint": {"every_n_train_steps": 2},
            "trainer": {"max_steps": STEPS, "accelerator": "cpu", "log_every_n_steps": 1, "enable_progress_bar": False},
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))

    config("DDGANModule", TINY_DDGAN)
    config("DDPMModule", {"backbone_args": dict(TINY_UNET), "sampler": {"class_path": "Ancestral"}})

    def callback(**arguments: Any) -> dict[str, Any]:
        arguments |= {"batch_size": 10, "grid": 4, "cache": str(tmp_path / "cache")}
        return {"trainer.callbacks": [{"class_path": CALLBACK, "init_args": arguments}]}

    path = tmp_path / "study.yaml"
    content = {
        "table": "fid_vs_steps",
        "keys": {"T": "model.init_args.timesteps", "nfe": "model.init_args.sampler.init_args.steps",
                 "seed": "seed_everything", "divergence": "model.init_args.divergence"},
        "fit": callback(n_images=10, every_n_steps=15, against_test=False),
        "test": callback(n_images=20),
        "blocks": [
            {"method": "ddgan", "config": "DDGANModule.yaml", "grid": {"divergence": ["hellinger"], "T": [2], "seed": [1]}},
            {"method": "ddpm", "config": "DDPMModule.yaml", "grid": {"T": [3], "seed": [0]},
             "fit": {"trainer.max_steps": 2, "model.init_args.sampler.init_args.steps": 2}, "evaluations": [{"grid": {"nfe": [3]}}]},
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def logged(run: Path) -> list[int]:
    """The step of every line of losses, an unfinished last one left out."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line["step"] for line in map(json.loads, lines) if "d_loss" in line]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_killed_sweep_of_the_program_goes_on(study: Path, tmp_path: Path, program: Callable[..., int]) -> None:
    out = tmp_path / "out"
    run = out / "ddgan-divergence=hellinger-T=2-seed=1"
    command = [sys.executable, "-m", "fdsr.cli", "sweep", str(study), "--output", str(out), "--only", "ddgan-*"]
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        end = time.monotonic() + 500
        while len(logged(run)) < 8 or not (run / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None and time.monotonic() < end, (run / "fit.log").read_text()
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    before = logged(run)
    assert 8 <= len(before) < STEPS and not (run / "fit.done").exists()

    assert program("sweep", study, "--output", out, "--only", "ddgan-*") == 0
    after = logged(run)[len(before) :]
    # it went on from a checkpoint, not from the beginning
    assert min(before[1:]) < after[0] <= max(before) + 1 and len(set(before) | set(after)) == STEPS
    floor, row = table(out / "fid_vs_steps.csv")
    assert floor["method"] == "test_images" and floor["n_generated"] == "90" and float(floor["classifier_frechet"]) > 0
    assert (row["divergence"], row["T"], row["nfe"], row["seed"]) == ("hellinger", "2", "2", "1")
    assert row["images_seen"] == str(STEPS * BATCH) and row["n_generated"] == "20" and row["fid"] == row["kid"] == ""
    assert (
        float(row["classifier_frechet"]) > 0 and float(row["seconds_per_image"]) > 0 and row["device"].startswith("CPU")
    )
    record = json.loads((run / "run.json").read_text())
    assert int(row["n_parameters"]) == record["test"]["networks"]["network"] < record["test"]["parameters"]
    curve = table(out / "curves.csv")
    assert [int(c["step"]) for c in curve] == [15, 30, 45, 60] and int(curve[0]["images_seen"]) == 15 * BATCH
    assert len(list((out / "samples").glob("ddgan-hellinger-T2-nfe2-seed1.png"))) == 1


@pytest.mark.slow
def test_evaluations_of_the_program_are_drawn(
    study: Path, tmp_path: Path, program: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert program("sweep", study, "--output", out, "--only", "ddpm-*") == 0
    assert [(r["method"], r["T"], r["nfe"]) for r in table(out / "fid_vs_steps.csv")[1:]] == [("ddpm", "3", "3")]
    capfd.readouterr()
    assert program("report", out / "fid_vs_steps.csv", "--output", tmp_path / "figures") == 0
    names = {Path(line.split(": ", 1)[1].strip()).name for line in capfd.readouterr().out.splitlines()}
    assert (
        names
        == {"classifier_frechet_vs_steps.png", "samples_ddpm.png", "report.html"}
        == {p.name for p in (tmp_path / "figures").iterdir()}
    )
