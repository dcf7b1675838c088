"""A prediction that was killed, at whatever moment, goes on by the same command and ends in the same bytes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed_prediction
import processes  # noqa: F401  what the server of processes imports once
import pytest
import xarray as xr
import zarr.storage._local as local
from synthetic import write_source

Refused = Callable[..., str]


@pytest.fixture
def low(source_data: xr.Dataset, tmp_path: Path) -> str:
    """Coarse fields at three times."""
    fields = source_data[["t2m", "u10"]].isel(time=slice(3)).coarsen(latitude=4, longitude=4).mean()
    fields = fields.assign({n: fields[n].assign_attrs(source_data[n].attrs) for n in fields})
    return write_source(fields.assign_attrs(attribution="of a test"), tmp_path / "low.zarr")


def ended(command: list[Any], moment: str | None) -> int:
    process = multiprocessing.get_context("forkserver").Process(
        target=killed_prediction.run, args=([str(word) for word in command], moment)
    )
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


def files(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_killed_at_five_moments(
    trained: tuple[Path, Path], low: str, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    config, run = trained
    common = ["predict", "--config", config, "--run", run, "--low", low, "--model.member_batch", "1"]
    whole, cut = tmp_path / "whole.zarr", tmp_path / "cut.zarr"
    assert ended([*common, "--output", whole], None) == 0
    assert len(files(whole)) > 2 * 3 * 2
    for moment in killed_prediction.MOMENTS:
        assert ended([*common, "--output", cut], moment) == -signal.SIGKILL, moment
        assert not cut.exists() and (tmp_path / ".cut.zarr.partial").is_dir(), moment
    assert ended([*common, "--output", cut], None) == 0
    assert files(cut) == files(whole)
    assert not (tmp_path / ".cut.zarr.partial").exists()
    with xr.open_zarr(cut) as ds:
        assert (
            ds.attrs["attribution"] == "of a test"
            and ds.attrs["training_attribution"] == "Made by a test."
            and "fdsr_record" in ds.attrs
            and bool(ds.notnull().all().to_array().all())
        )


def test_a_full_disk(
    trained: tuple[Path, Path], program: Callable[..., int], refused: Refused, low: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, run = trained
    command = ("predict", "--config", config, "--run", run, "--low", low, "--output", tmp_path / "fine.zarr")
    put, written = local._put, []

    def no_space(path: Path, value: Any, exclusive: bool = False) -> int:
        if killed_prediction.is_of_a_map(path):
            written.append(path)
            if len(written) > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(path, value, exclusive)

    monkeypatch.setattr(local, "_put", no_space)
    message = refused(*command)
    assert "fine.zarr' cannot be written: No space left on device; make room; what is finished is kept" in message
    done = tmp_path / ".fine.zarr.partial" / "done"
    assert sorted(p.name for p in done.iterdir()) == ["0-0", "0-1"]
    monkeypatch.undo()
    other = refused(*command, "--seed_everything", "3")
    assert "is unfinished, of another prediction: seed 0, not 3; give its settings to go on with it" in other
    assert "members 2, not 3" in refused(*command, "--model.members", "3")
    assert "steps 2 " in refused(*command, "--model.sampler.steps", "3")
    assert program(*command) == 0
    assert "exists already" in refused(*command)
