"""The data benchmark runs: every method returns the memory map's values, and the table is whole. Speed is not asked here."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bench_data

sys.path.pop(0)


def test_every_method_reads_the_same(tmp_path: Path) -> None:
    pytest.importorskip("xbatcher")
    pytest.importorskip("tensorstore")
    sizes = ["--times", "64", "--fields", "12", "20", "--grid", "130", "256"]
    options = [
        "--repeats",
        "1",
        "--seconds",
        "0.01",
        "--steps",
        "0",
        "--output",
        str(tmp_path),
        "--keep",
        str(tmp_path / "made"),
    ]
    rows = list(csv.DictReader(bench_data.main([*sizes, *options]).open()))
    assert len({(row["case"], row["method"]) for row in rows}) == len(rows)
    for case in ("fields", "patches"):
        found = {row["method"]: row for row in rows if row["case"] == case}
        assert {"memmap", "resident (ours)", "direct (ours)", "zarr (ours)", "zarr-python per sample"} <= set(found)
        assert float(found["memmap"]["ratio_to_memmap"]) == 1
        assert all(float(row["samples_per_second"]) > 0 for row in found.values())


def test_a_method_that_returns_other_values_is_found_out() -> None:
    import numpy as np

    places = bench_data.in_epochs(32, lambda epoch: np.arange(32))
    methods = {"memmap": lambda p: p.astype(np.float32), "wrong": lambda p: p.astype(np.float32) + (p == 3)}
    with pytest.raises(AssertionError, match="wrong returns other values"):
        bench_data.turns(methods, places, 1, 0.001, "fields")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_model_waits_for_some_of_the_time(tmp_path: Path) -> None:
    assert 0 <= bench_data.training_share(tmp_path, 2, 20, (64, 64)) < 1
