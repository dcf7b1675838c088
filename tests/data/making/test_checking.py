"""The check reads everything, says what is there, and finds what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from synthetic import pair_config, rain_source, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making.checking import check_store
from fdsr.errors import FdsrError


def test_what_it_says(store_path: str, store: PairStore) -> None:
    text = check_store(store_path)
    high = np.asarray(store.group["high"])
    for words in (
        "24 × 48",
        "factor 4 × 4",
        "18, 2020-01-01T00:00 … 2020-01-05T06:00, every 6 h",
        "train        10, 2020-01-01T00:00 … 2020-01-03T06:00",
        "orography",
        f"{store.spec.fingerprint} (that of its contents)",
        f"{float(store.spec.high_std[0]):.4g}",
        f"{high[:, 1].min():.6g}",
        "high u10",
        "low t2m",
    ):
        assert words in text, words
    assert max(map(len, text.splitlines())) < 200


def damage_chunk(path: Path) -> None:
    chunk = path / "high/c/3/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:100])


def remove_chunk(path: Path) -> None:
    (path / "low/c/5/0/0/0").unlink()


def put_a_hole(path: Path) -> None:
    array = zarr.open_group(str(path), mode="r+", use_consolidated=False)["high"]
    step = np.asarray(array[12])
    step[1, 2, 3] = np.nan
    array[12] = step


def change_values(path: Path) -> None:
    array = zarr.open_group(str(path), mode="r+", use_consolidated=False)["high"]
    array[2] = np.asarray(array[2]) + 30


def change_split(path: Path) -> None:
    described = json.loads((path / "zarr.json").read_text())
    described["attributes"]["splits"]["val"] = [11, 12]
    (path / "zarr.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damage_chunk, "1 chunks of high are absent or damaged, the first at step 3"),
        (remove_chunk, "1 chunks of low are absent or damaged, the first at step 5"),
        (put_a_hole, r"missing values in high u10 \(1\)"),
        (change_values, "high_mean is not that of the train block"),
        (change_split, "fingerprint .* is not that of its contents"),
    ],
)
def test_what_it_finds(tmp_path: Path, store_path: str, spoil: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "spoilt.zarr"
    shutil.copytree(store_path, path)
    spoil(path)
    with pytest.raises(FdsrError, match=words) as caught:
        check_store(path)
    assert "\n" not in str(caught.value)


def test_rain_is_checked_as_it_was_measured(tmp_path: Path) -> None:
    """Statistics of zero-inflated fields are of wet coarse cells."""
    source = write_source(rain_source(), tmp_path / "s.zarr")
    transforms = {"rain": {"name": "zero_inflated", "threshold": 0.1}}
    config = pair_config(source, variables=["rain"], static=[], transforms=transforms)
    store = prepare(config, tmp_path / "pairs.zarr")
    assert "that of its contents" in check_store(store)
    group = zarr.open_group(str(store), mode="r+")
    group["high_std"][:] = np.asarray(group["high_std"][:]) * 1.01  # type: ignore[index]
    with pytest.raises(FdsrError, match="its high_std is not that of the train block"):
        check_store(store)


def test_no_pair_store(tmp_path: Path, source_path: str) -> None:
    with pytest.raises(FdsrError, match="not a finished pair store"):
        check_store(source_path)
    with pytest.raises(FdsrError, match="does not exist"):
        check_store(tmp_path / "none.zarr")
