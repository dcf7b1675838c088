"""Interrupted at any moment, a preparation is finished by the same call, to the last bit."""

from __future__ import annotations

import errno
import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from killed import contents
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making import writing as writing_module
from fdsr.data.making.partial import PartialStore
from fdsr.errors import FdsrError

PROGRAM = Path(__file__).with_name("killed.py")


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    source = write_source(make_source(times=32), tmp_path / "source.zarr")
    command = [sys.executable, str(PROGRAM), source, str(tmp_path / "work"), "4", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events"] > 200 and len(found["killed_at"]) == 4
    assert found["not_identical"] == [] and found["taken_for_finished"] == []


def test_threads_and_order_change_nothing(tmp_path: Path, source_path: str) -> None:
    made = [
        contents(prepare(pair_config(source_path), tmp_path / f"{n}.zarr", threads=n, steps_per_block=2))
        for n in (1, 3)
    ]
    assert made[0] == made[1]


def failing_write(monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> list[int]:
    """Make the write of the block that begins at step `at` fail once; the steps that were written."""
    written: list[int] = []
    true_write = writing_module.write_block

    def write(path: Path, first: int, high: np.ndarray, low: np.ndarray) -> None:
        if first == at and at not in written:
            written.append(first)
            raise error
        written.append(first)
        true_write(path, first, high, low)

    monkeypatch.setattr(sys.modules["fdsr.data.making.prepare"], "write_block", write)
    return written


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, source_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = contents(prepare(pair_config(source_path), tmp_path / "whole.zarr", threads=1, steps_per_block=2))
    written = failing_write(monkeypatch, 10, OSError(errno.ENOSPC, "No space left on device"))
    target = tmp_path / "pairs.zarr"
    with pytest.raises(FdsrError, match=r"No space left on device; free some space and run the same command") as caught:
        prepare(pair_config(source_path), target, threads=1, steps_per_block=2)
    assert "\n" not in str(caught.value) and not target.exists()
    del written[:]
    written.append(10)  # the disk has room now
    prepare(pair_config(source_path), target, threads=1, steps_per_block=2)
    assert sorted(written[1:]) in ([8, 10, 12, 14, 16], [10, 12, 14, 16])  # the first wave is not made again
    assert contents(target) == expected


def test_another_plan_starts_anew(
    tmp_path: Path, source_path: str, source_data: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(source_data, tmp_path / "source.zarr")
    target = tmp_path / "pairs.zarr"
    with monkeypatch.context() as patch:
        failing_write(patch, 10, RuntimeError("power cut"))
        with pytest.raises(RuntimeError):
            prepare(pair_config(source), target, threads=1, steps_per_block=2)
    changed = source_data.copy(deep=True)
    changed.t2m[0] += 1
    changed.to_zarr(source, mode="w", zarr_format=3, consolidated=False)
    prepare(pair_config(source), target, threads=1, steps_per_block=2)
    np.testing.assert_array_equal(PairStore(target).group["high"][0, 0], changed.t2m[0])


def test_one_process_at_a_time(
    tmp_path: Path, source_path: str, store_path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second waits for the first, and then finds the store made."""
    target = tmp_path / "pairs.zarr"
    partial = PartialStore(target)
    partial.folder.mkdir()
    with (partial.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results: list[Path] = []
        waiting = threading.Thread(target=lambda: results.append(prepare(pair_config(source_path), target)))
        waiting.start()
        for _ in range(600):
            if "waiting for another process" in capfd.readouterr().err:
                break
            waiting.join(0.1)
        else:
            raise AssertionError("it did not wait")
        assert not results
        __import__("shutil").copytree(store_path, target)
        partial.discard()
    waiting.join(60)
    assert results == [target] and [p.name for p in tmp_path.iterdir()] == ["pairs.zarr"]
