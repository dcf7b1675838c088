"""Every reader returns the same bits, from whatever store it says it can read."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc, GZip, Zlib, Zstd
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

from fdsr.data.serving.readers import READERS, UnsuitableStoreError, available_readers, open_reader
from fdsr.data.serving.readers.threads import spread
from fdsr.errors import FdsrError

SHAPE = (7, 3, 13, 17)


def fields(dtype: str = "<f4", shape: tuple[int, ...] = SHAPE) -> NDArray:
    values = np.random.default_rng(0).standard_normal(shape) * 100
    values[0, 0, 0, :4] = [0, -0.0, 1e-3, 6e4] if np.dtype(dtype).kind == "f" else [0, 1, 2, 3]
    return values.astype(dtype)


def write(path: Path, values: NDArray, empty: tuple[int, ...] = (), **arguments: Any) -> zarr.Array:
    """An array with one time step a chunk, those of `empty` never written."""
    array = zarr.open_group(path, mode="w", zarr_format=arguments.pop("zarr_format", 3)).create_array(
        "high", shape=values.shape, dtype=values.dtype, **({"chunks": (1, *values.shape[1:])} | arguments)
    )
    for i in range(values.shape[0]):
        if i not in empty:
            array[i] = values[i]
    return zarr.open_group(path, mode="r")["high"]  # type: ignore[return-value]


def read(array: zarr.Array, name: str, steps: list[int], threads: int = 2) -> NDArray[np.float32]:
    out = np.full((len(steps), *array.shape[1:]), 7e7, np.float32)
    open_reader(array, name, threads).read(steps, out)
    return out


def same_bits(a: NDArray, b: NDArray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"compressors": None},
    "default": {},
    **{
        f"blosc-{name}-{shuffle}": {"compressors": BloscCodec(cname=name, shuffle=shuffle)}
        for name in ("lz4", "lz4hc", "zstd", "zlib", "blosclz")
        for shuffle in ("noshuffle", "shuffle", "bitshuffle")
    },
    "zstd": {"compressors": ZstdCodec(level=3)},
    "zstd-checksum": {"compressors": ZstdCodec(level=3, checksum=True)},
    "gzip": {"compressors": GzipCodec(level=1)},
    "big-endian": {"serializer": BytesCodec(endian="big"), "compressors": None},
    "big-endian-blosc": {"serializer": BytesCodec(endian="big"), "compressors": BloscCodec(cname="lz4")},
    "v2-plain": {"zarr_format": 2, "compressors": None},
    "v2-blosc": {"zarr_format": 2, "compressors": Blosc(cname="lz4", shuffle=Blosc.SHUFFLE)},
    "v2-zstd": {"zarr_format": 2, "compressors": Zstd()},
    "v2-gzip": {"zarr_format": 2, "compressors": GZip()},
    "v2-zlib": {"zarr_format": 2, "compressors": Zlib()},
    "v2-nested": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_readers_agree(tmp_path: Path, variant: str) -> None:
    values = fields()
    array = write(tmp_path / "store.zarr", values, **VARIANTS[variant])
    names = available_readers(array)
    assert names == list(READERS), "a reader cannot read what it should"
    assert open_reader(array).name == "direct"
    steps = [4, 0, 6, 4, 1]
    for name in names:
        assert same_bits(read(array, name, steps), values[steps]), name


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<i2", "<f2", "|u1"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_other_types_become_float32(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    values = fields(dtype)
    array = write(tmp_path / "store.zarr", values, zarr_format=zarr_format)
    for name in available_readers(array):
        assert same_bits(read(array, name, [2, 5]), values[[2, 5]].astype("<f4")), name
    assert {"direct", "zarr"} <= set(available_readers(array))


@pytest.mark.parametrize("fill", [float("nan"), 0.0, -1.5])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_never_written_have_the_fill_value(tmp_path: Path, fill: float, zarr_format: int) -> None:
    values = fields()
    array = write(tmp_path / "store.zarr", values, empty=(1, 5), fill_value=fill, zarr_format=zarr_format)
    values[[1, 5]] = fill
    for name in available_readers(array):
        assert same_bits(read(array, name, list(range(7))), values), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shards": (7, *SHAPE[1:])}, "sharded"),
        ({"chunks": (1, 3, 5, 17)}, "chunks"),
        ({"chunks": (2, *SHAPE[1:])}, "chunks"),
        ({"compressors": [ZstdCodec(), Crc32cCodec()]}, "codecs zstd, crc32c"),
        ({"zarr_format": 2, "order": "F"}, "columns first"),
    ],
)
def test_direct_says_what_it_cannot_read_and_auto_falls_back(tmp_path: Path, changes: dict, words: str) -> None:
    values = fields()
    array = write(tmp_path / "store.zarr", values, **changes)
    with pytest.raises(UnsuitableStoreError, match=words) as error:
        open_reader(array, "direct")
    assert "use reader 'zarr'" in str(error.value) and "\n" not in str(error.value)
    assert open_reader(array).name == "zarr" and "direct" not in available_readers(array)
    for name in available_readers(array):
        assert same_bits(read(array, name, [6, 0, 3]), values[[6, 0, 3]]), name


def test_a_store_in_memory_is_read_by_zarr() -> None:
    values = fields()
    array = zarr.create_array({}, name="high", data=values, chunks=(1, *SHAPE[1:]))
    for name in ("direct", "tensorstore"):
        with pytest.raises(UnsuitableStoreError, match="not on a local disk"):
            open_reader(array, name)
    assert open_reader(array).name == "zarr" and same_bits(read(array, "auto", [3, 2]), values[[3, 2]])


@settings(max_examples=30)
@given(
    channels=st.integers(1, 3), rows=st.integers(1, 9), columns=st.integers(1, 9), times=st.integers(1, 6),
    threads=st.integers(1, 5), data=st.data(),
)  # fmt: skip
def test_any_shape_and_any_steps(
    tmp_path_factory: pytest.TempPathFactory, channels: int, rows: int, columns: int, times: int, threads: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    values = fields(shape=(times, channels, rows, columns + 4))
    codec = data.draw(st.sampled_from([None, BloscCodec(cname="lz4"), ZstdCodec()]))
    array = write(tmp_path_factory.mktemp("shapes") / "store.zarr", values, compressors=codec)
    steps = data.draw(st.lists(st.integers(0, times - 1), max_size=8))
    for name in READERS:
        assert same_bits(read(array, name, steps, threads), values[steps].reshape(len(steps), *values.shape[1:])), name
        separate = [np.empty(values.shape[1:], np.float32) for _ in steps]
        open_reader(array, name, threads).read(steps, separate)
        assert all(same_bits(out, values[i]) for out, i in zip(separate, steps, strict=True)), name


@pytest.mark.parametrize("name", READERS)
def test_steps_outside_the_store(tmp_path: Path, name: str) -> None:
    array = write(tmp_path / "store.zarr", fields())
    for step in (-1, 7):
        with pytest.raises(FdsrError, match=f"no time step {step}; it has 7"):
            read(array, name, [0, step])


@pytest.mark.parametrize("codec", [None, BloscCodec(cname="lz4"), ZstdCodec(), GzipCodec()])
@pytest.mark.parametrize("damage", ["short", "empty", "garbage", "long"])
def test_damaged_chunks_are_named(tmp_path: Path, codec: Any, damage: str) -> None:
    array = write(tmp_path / "store.zarr", fields(), compressors=codec)
    path = tmp_path / "store.zarr" / "high" / "c" / "3" / "0" / "0" / "0"
    content = path.read_bytes()
    path.write_bytes(
        {"short": content[:-40], "empty": b"", "garbage": bytes(len(content)), "long": content + bytes(4)}[damage]
    )
    if isinstance(codec, GzipCodec) and damage == "long":  # what follows its end is ignored
        assert same_bits(read(array, "direct", [3]), fields()[[3]])
        return
    if codec is None and damage == "garbage":
        assert not read(array, "direct", [3]).any()  # zeros are as good as any numbers
        return
    with pytest.raises(FdsrError, match=r"high/c/3/0/0/0' is damaged .* prepare the store anew") as error:
        read(array, "direct", [2, 3, 4])
    assert "\n" not in str(error.value)
    if codec is not None and damage == "long":  # the libraries' decoders differ
        return
    with pytest.raises(FdsrError, match="cannot be read"):
        read(array, "tensorstore", [2, 3, 4])
    if not (isinstance(codec, BloscCodec) and damage == "short"):  # zarr-python does not notice that
        with pytest.raises(FdsrError, match="cannot be read"):
            read(array, "zarr", [2, 3, 4])


def test_a_smaller_blosc_frame_is_damage(tmp_path: Path) -> None:
    """numcodecs would decode it into the beginning of its destination and say nothing."""
    array = write(tmp_path / "store.zarr", fields(), compressors=BloscCodec(cname="lz4"))
    (tmp_path / "store.zarr/high/c/3/0/0/0").write_bytes(Blosc(cname="lz4").encode(np.zeros(9, "<f4")))
    with pytest.raises(FdsrError, match="decodes to 36"):
        read(array, "direct", [3])


def test_unreadable_chunk(tmp_path: Path) -> None:
    array = write(tmp_path / "store.zarr", fields())
    path = tmp_path / "store.zarr" / "high" / "c" / "3" / "0" / "0" / "0"
    path.unlink()
    path.mkdir()
    with pytest.raises(FdsrError, match="cannot be read: Is a directory"):
        read(array, "direct", [3])


def test_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(FdsrError, match="reader 'fast' is unknown; choose one of auto, direct, tensorstore, zarr"):
        open_reader(write(tmp_path / "store.zarr", fields()), "fast")


def test_tensorstore_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = write(tmp_path / "store.zarr", fields())
    monkeypatch.setitem(__import__("sys").modules, "tensorstore", None)
    with pytest.raises(UnsuitableStoreError, match=r"fdsr\[tensorstore\]"):
        open_reader(array, "tensorstore")
    assert available_readers(array) == ["direct", "zarr"]


def _read_in_child(reader: Any, answer: Any) -> None:
    out = np.empty((4, *SHAPE[1:]), np.float32)
    try:
        reader.read([0, 1, 2, 3], out)
        answer.send(out.tobytes())
    except FdsrError as error:
        answer.send(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["direct", "tensorstore"])
def test_after_a_fork(tmp_path: Path, name: str) -> None:
    """A reader that survives a fork goes on, though its helping threads did not; another says so instead of crashing."""
    values = fields()
    reader = open_reader(write(tmp_path / "store.zarr", values), name, threads=3)
    reader.read([0, 1, 2, 3], np.empty((4, *SHAPE[1:]), np.float32))
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(reader, theirs))
    child.start()
    assert ours.poll(60), "the child hangs"
    answer = ours.recv()
    child.join(60)
    assert child.exitcode == 0
    if name == "direct":
        assert answer == values[:4].tobytes()
    else:
        assert "reader 'tensorstore' cannot be used in a forked process" in answer


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_spread_calls_each_once(threads: int, n: int) -> None:
    called: list[int] = []
    spread(called.append, n, threads)
    assert sorted(called) == list(range(n))


def test_spread_raises_what_a_call_raises() -> None:
    def work(j: int) -> None:
        if j == 7:
            raise ValueError("seven")

    for threads in (1, 2, 4):
        for _ in range(20):
            with pytest.raises(ValueError, match="seven"):
                spread(work, 20, threads)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_a_blosc_frame_cut_short_is_never_decoded(tmp_path: Path, dtype: str) -> None:
    """The decoder underneath would read on past its end, into whatever memory follows."""
    array = write(tmp_path / "store.zarr", fields(dtype), compressors=BloscCodec(cname="lz4"))
    path = tmp_path / "store.zarr/high/c/3/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FdsrError, match="is damaged"):
        read(array, "direct", [3])
