"""Google's protocol on loopback, where its emulator is installed: prepare from a bucket, and train from one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http import server
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import make_source, pair_config

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.errors import FdsrError

# read when gcsfs is imported: the emulator knows plain buckets only
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
emulator = pytest.importorskip("gcp_storage_emulator.server")
gcsfs = pytest.importorskip("gcsfs", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """A bucket `archive` that holds the tiny source."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "HTTPServer", server.ThreadingHTTPServer)
        running = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="archive")
        running.start()
        found = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{port}"}
        make_source().to_zarr("gs://archive/era.zarr", storage_options=found, zarr_format=3)
        yield found
        running.stop()


def test_prepare(options: dict[str, Any], store: PairStore, tmp_path: Path) -> None:
    config = pair_config("gs://archive/era.zarr", storage_options=options)
    found = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    assert not store.spec.differences(found.spec)
    np.testing.assert_array_equal(found.group["high"][:], store.group["high"][:])
    with pytest.raises(FdsrError, match="does not exist"):
        prepare(pair_config("gs://archive/none.zarr", storage_options=options), tmp_path / "none.zarr")


def test_train(options: dict[str, Any], store_path: str) -> None:
    gcsfs.GCSFileSystem(**options).put(store_path, "archive/pairs.zarr", recursive=True)
    batches = []
    for path in ("gs://archive/pairs.zarr", store_path):
        data = WeatherDataModule(
            store=path, patch=(8, 16), batch_size=4, patches_per_step=4, storage_options=options
        )  # fmt: skip
        data.setup("fit")
        batches.append(list(data.train_dataloader()))
    for found, expected in zip(*batches, strict=True):
        assert all(bool((found[name] == expected[name]).all()) for name in ("high", "low", "time"))
