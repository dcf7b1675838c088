"""`fdsr bench-data`: its table and its errors. How fast anything is, is not asked here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fdsr.bench.data_speed import TimedLoader
from fdsr.data import WeatherDataModule


def check(table: str, patches: str) -> None:
    rows = {line[:40].strip(): line.split()[-2:] for line in table.splitlines() if re.match("reader|batches", line)}
    assert len(rows) == 4 and any(patches in name for name in rows)
    speeds = [[float(x) for x in row] for row in rows.values()]
    assert all(samples > 0 and megabytes >= 0 for samples, megabytes in speeds)
    found = re.search(r"RegressionModule: ([\d.]+) ms a step, waits for data ([\d.]+) % of the time \(2 steps\)", table)
    assert found and float(found[1]) > 0 and 0 <= float(found[2]) <= 100


def test_of_a_store(program: Callable[..., int], store_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--patch", "8,16", "--batch-size", 4, "--batches", 2, "--steps", 2)
    assert program("bench-data", "--store", store_path, *options) == 0
    table = capsys.readouterr().out
    check(table, "batches of 4 patches")
    assert "18 times × 2 channels × 24 × 48" in table and "kept in memory" in table


def test_of_a_configuration(
    program: Callable[..., int], configure: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure("RegressionModule")
    options = ("--batches", 3, "--steps", 2, "--data.patch", "null", "--data.batch_size", 2)
    assert program("bench-data", "--config", config, *options) == 0
    check(capsys.readouterr().out, "batches of 2 whole fields")


def test_refused(refused: Callable[..., str], tmp_path: Path, store_path: str) -> None:
    assert "either --config or --store" in refused("bench-data")
    assert "does not exist" in refused("bench-data", "--config", tmp_path / "none.yaml")
    assert "does not exist" in refused("bench-data", "--store", tmp_path / "none.zarr")
    for option in ("--patch", "--batch-size"):
        assert "--data.patch and --data.batch_size" in refused("bench-data", "--config", "any.yaml", option, 4)
    assert "unrecognized arguments: --data.patch" in refused("bench-data", "--store", store_path, "--data.patch", 3)
    assert "fewer than batch_size 99" in refused(
        "bench-data", "--store", store_path, "--batch-size", 99, "--batches", 1
    )


def test_help_needs_no_torch() -> None:
    code = "import sys; from fdsr.cli import main; main(['bench-data', '--help'])"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=120)
    assert "--steps" in done.stdout and not re.search(r"\| +(torch|zarr|lightning)$", done.stderr, re.MULTILINE)


def test_time_is_that_of_waiting(data: WeatherDataModule) -> None:
    """Ten batches an epoch: the eleventh begins the second."""
    timed = TimedLoader(data.train_dataloader(), 13)
    seen = [batch["index"].tolist() for batch in timed]
    loader = data.train_dataloader()
    first = [batch["index"].tolist() for batch in loader]
    loader.sampler.set_epoch(1)
    assert seen == (first + [batch["index"].tolist() for batch in loader])[:13]
    assert len(timed.waited) == len(timed.arrived) == len(timed) == 13
    gaps = [b - a for a, b in zip(timed.arrived[:-1], timed.arrived[1:], strict=True)]
    assert all(0 <= wait <= gap for wait, gap in zip(timed.waited[1:], gaps, strict=True))
