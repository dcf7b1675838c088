"""On a Dask cluster the result is that of threads, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import dask
import pytest
from killed import contents
from synthetic import make_source, pair_config, write_source

from fdsr.data import prepare
from fdsr.data.making import running
from fdsr.errors import FdsrError

distributed = pytest.importorskip("distributed")


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(tmp_path: Path) -> None:
    source = write_source(make_source(times=32), tmp_path / "source.zarr")
    config = pair_config(source, split={"train": 20, "val": 4, "test": 4})
    expected = contents(prepare(config, tmp_path / "threads.zarr", threads=2, steps_per_block=2))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert contents(prepare(config, tmp_path / "cluster.zarr", scheduler=address, steps_per_block=2)) == expected
        # what goes wrong on a worker is said as if it had gone wrong here
        broken = pair_config(source, split={"train": 20}, variables=["t2m", "tp"], static=[])
        with pytest.raises(FdsrError, match="no variable 'tp'"):
            prepare(broken, tmp_path / "broken.zarr", scheduler=address)
        holes = make_source(times=8)
        holes.u10[5, 3, 3] = float("nan")
        holed = pair_config(write_source(holes, tmp_path / "holes.zarr"), split={"train": 5})
        with pytest.raises(FdsrError, match=r"'u10' has 1 missing .* 2020-01-02T06:00"):
            prepare(holed, tmp_path / "holed.zarr", scheduler=address, steps_per_block=1)
    assert not (tmp_path / "holed.zarr").exists()


def _dies(block: tuple[int, int]) -> None:
    os._exit(1)


@pytest.mark.slow
def test_workers_that_die_are_said_in_one_line() -> None:
    local = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with once, distributed.LocalCluster(**local) as cluster, running.open_runner(cluster.scheduler_address) as runner:
        (failure,) = runner.wave(_dies, [(4, 8)], lambda steps: None)
    assert isinstance(failure, FdsrError) and "workers died" in str(failure) and "4 to 7" in str(failure)
    assert "\n" not in str(failure)


def test_no_scheduler(tmp_path: Path, source_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PATIENCE", "1s")
    with pytest.raises(FdsrError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'") as caught:
        prepare(pair_config(source_path), tmp_path / "pairs.zarr", scheduler="tcp://127.0.0.1:9")
    assert "\n" not in str(caught.value) and not (tmp_path / "pairs.zarr").exists()
