"""How a pair store's files are compressed and cut changes nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making.append import append
from fdsr.data.making.checking import check_store
from fdsr.data.making.writing import Layout
from fdsr.data.serving.readers import available_readers
from fdsr.data.zarr_groups import array_of
from fdsr.errors import FdsrError


@pytest.mark.parametrize(
    ("layout", "reader"),
    [(Layout("zstd"), "direct"), (Layout("none"), "direct"), (Layout(shard=5), "zarr"), (Layout("none", 64), "zarr")],
)
def test_values_statistics_and_fingerprint_are_the_same(
    layout: Layout, reader: str, source_path: str, store: PairStore, tmp_path: Path
) -> None:
    # blocks of two steps would share a shard of five: they are lengthened
    path = prepare(pair_config(source_path), tmp_path / "pairs.zarr", layout=layout, threads=2, steps_per_block=2)
    found = PairStore(path, cached_steps=1, resident_bytes=0)
    assert found.high.name == reader
    steps = [3, 17, 0, 4, 5]
    for i, step in found.steps(steps).items():
        np.testing.assert_array_equal(step.high, store.read(i)[0])
        np.testing.assert_array_equal(step.low, store.read(i)[1])
    assert not store.spec.differences(found.spec)
    files = [f for f in (path / "high" / "c").rglob("*") if f.is_file()]
    assert len(files) == -(-18 // layout.shard)
    assert found.spec.fingerprint in check_store(path)


def test_a_sharded_store_is_read_in_parallel_by_tensorstore(source_path: str, store: PairStore, tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    path = prepare(pair_config(source_path), tmp_path / "pairs.zarr", layout=Layout(shard=4))
    assert set(available_readers(array_of(PairStore(path).group, "high"))) == {"tensorstore", "zarr"}
    found = PairStore(path, reader="tensorstore")
    np.testing.assert_array_equal(found.read(7)[0], store.read(7)[0])


def test_appending(source_path: str, tmp_path: Path) -> None:
    longer = write_source(make_source(times=20), tmp_path / "longer.zarr")
    path = prepare(pair_config(source_path), tmp_path / "pairs.zarr", layout=Layout("none"))
    append(path, longer)
    assert len({f.stat().st_size for f in (path / "high" / "c").rglob("*") if f.is_file()}) == 1
    sharded = prepare(pair_config(source_path), tmp_path / "sharded.zarr", layout=Layout(shard=4))
    with pytest.raises(FdsrError, match="keeps 4 time steps a file, to which none can be added"):
        append(sharded, longer)


def test_refused() -> None:
    with pytest.raises(FdsrError, match="compression 'gzip' is unknown; choose one of lz4, zstd, none"):
        Layout("gzip")
    with pytest.raises(FdsrError, match="at least 1"):
        Layout(shard=0)
