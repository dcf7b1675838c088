"""A real S3 protocol on loopback: prepare and train from a bucket, through a server that fails, and one that stops."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed import contents
from synthetic import make_source, pair_config

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.making.sources import remote
from fdsr.errors import FdsrError

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Bucket:
    """moto's S3 behind a server of our own, which can fail every n-th request and stop after a number of them."""

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        self._application = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.requests, self.failures, self.fail_every, self.stop_after = 0, 0, 0, 0
        self.stop_once: Path | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _answer(self, environment: dict, start: Callable) -> Any:
        with self._lock:
            self.requests += 1
            stopped = bool(self.stop_after) and self.requests > self.stop_after
            stopped = stopped or (self.stop_once is not None and self.stop_once.exists())
            failing = stopped or (bool(self.fail_every) and self.requests % self.fail_every == 0)
            self.failures += failing
        if failing:
            start("503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return self._application(environment, start)

    def reset(self, fail_every: int = 0, stop_after: int = 0, stop_once: Path | None = None) -> None:
        """fail_every: one request in so many fails. No answer any more after `stop_after` requests, or once a file exists."""
        self.requests, self.failures, self.fail_every, self.stop_after = 0, 0, fail_every, stop_after
        self.stop_once = stop_once

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def options(self, key: str = "key") -> dict[str, Any]:
        return {
            "key": key, "secret": "secret", "client_kwargs": {"endpoint_url": self.address, "region_name": "us-east-1"},
            "config_kwargs": {"retries": {"max_attempts": 2}, "connect_timeout": 5, "read_timeout": 20},
        }  # fmt: skip


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    found = Bucket()
    s3fs.S3FileSystem(**found.options()).call_s3("create_bucket", Bucket="archive")
    make_source().to_zarr("s3://archive/era.zarr", storage_options=found.options(), zarr_format=3)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def calm(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.reset()
    monkeypatch.setattr(remote, "WAIT", 0.05)
    # nobody else's credentials, and no look-up of a cloud machine's
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def config(bucket: Bucket, **changes: Any) -> Any:
    return pair_config("s3://archive/era.zarr", storage_options=bucket.options(), **changes)


def test_pairs_from_a_bucket_are_those_of_a_local_store(tmp_path: Path, bucket: Bucket, store: PairStore) -> None:
    found = PairStore(prepare(config(bucket), tmp_path / "pairs.zarr"))
    assert not store.spec.differences(found.spec)
    np.testing.assert_array_equal(found.group["high"][:], store.group["high"][:])


def test_a_server_that_fails_every_fifth_request(tmp_path: Path, bucket: Bucket) -> None:
    expected = contents(prepare(config(bucket), tmp_path / "calm.zarr", steps_per_block=2))
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.reset(fail_every=5)
    assert contents(prepare(config(bucket), tmp_path / "pairs.zarr", steps_per_block=2)) == expected
    assert bucket.requests > 50 and bucket.failures >= 10


def test_a_server_that_stops(tmp_path: Path, bucket: Bucket) -> None:
    """One line, nothing under the target's name; when the server is back the same call finishes, to the last bit."""
    target = tmp_path / "pairs.zarr"
    expected = contents(prepare(config(bucket), tmp_path / "calm.zarr", threads=1, steps_per_block=1))
    whole = bucket.requests
    s3fs.S3FileSystem.clear_instance_cache()
    # late: most requests are made before the first step, and by then there must be a checkpoint
    bucket.reset(stop_after=whole - 6)
    with pytest.raises(FdsrError, match=r"s3://archive/era.zarr.* finished and kept") as caught:
        prepare(config(bucket), target, threads=1, steps_per_block=1)
    assert "\n" not in str(caught.value) and not target.exists()
    bucket.reset()
    assert contents(prepare(config(bucket), target, threads=1, steps_per_block=1)) == expected
    assert bucket.requests < whole  # what was finished is not read again


def test_training_from_a_bucket(tmp_path: Path, bucket: Bucket) -> None:
    bucket.reset(fail_every=5)
    data = WeatherDataModule(
        source="s3://archive/era.zarr", variables=["t2m", "u10"], factor=4, split={"train": 10, "val": 2, "test": 3},
        patch=(8, 16), batch_size=4, patches_per_step=4, cache=str(tmp_path), storage_options=bucket.options(),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 10 and all(bool(np.isfinite(np.asarray(b["high"])).all()) for b in batches)


@pytest.fixture(scope="module")
def address(bucket: Bucket, store_path: str) -> str:
    """The tiny pair store, copied into the bucket."""
    bucket.reset()
    s3fs.S3FileSystem(**bucket.options()).put(store_path, "archive/pairs.zarr", recursive=True)
    return "s3://archive/pairs.zarr"


def from_store(path: str, **options: Any) -> WeatherDataModule:
    data = WeatherDataModule(store=path, patch=(8, 16), batch_size=4, patches_per_step=4, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_training_straight_from_a_pair_store(bucket: Bucket, address: str, store_path: str) -> None:
    """Every fifth request fails; batches are those of the local store."""
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.reset(fail_every=5)
    found = from_store(address, storage_options=bucket.options())
    assert found.store is not None and found.store.high.name == "zarr"
    batches = [*found.train_dataloader(), *found.val_dataloader()]
    assert bucket.requests > 30 and bucket.failures >= 6
    local = from_store(store_path)
    for batch, expected in zip(batches, [*local.train_dataloader(), *local.val_dataloader()], strict=True):
        assert all(bool((batch[name] == expected[name]).all()) for name in ("high", "low", "time"))


@pytest.mark.parametrize("stop_after", [3, 20])
def test_a_server_that_stops_while_a_store_is_read(bucket: Bucket, address: str, stop_after: int) -> None:
    """While it is opened, or while it is trained from by the prefetching thread: one line after a few attempts."""
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.reset(stop_after=stop_after)
    with pytest.raises(FdsrError, match=r"pair store '.*pairs.zarr") as caught:
        for _ in from_store(address, storage_options=bucket.options()).train_dataloader():
            pass
    assert "\n" not in str(caught.value) and bucket.requests < 400


def test_a_server_that_stops_in_a_fit(
    bucket: Bucket, address: str, program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One line and status 2; the same command, when the server is back, ends with the weights of a calm run."""
    changes = {"data__storage_options": bucket.options(), "data__store": address, "data__prefetch": 0}
    config = configure("RegressionModule", **changes, trainer__max_steps=10, checkpoint__every_n_train_steps=1)
    calm, run = tmp_path / "calm", tmp_path / "run"
    assert program("fit", "--config", config, "--run", calm) == 0
    s3fs.S3FileSystem.clear_instance_cache()
    # how many requests a fit makes varies from run to run, but some come after its first checkpoint
    bucket.reset(stop_once=run / "checkpoints" / "last.ckpt")
    capfd.readouterr()
    assert program("fit", "--config", config, "--run", run) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fdsr: error:")]
    assert len(said) == 1 and "pair store" in said[0] and "secret" not in said[0]
    s3fs.S3FileSystem.clear_instance_cache()
    bucket.reset()
    assert program("fit", "--config", config, "--run", run, "--ckpt_path", "last") == 0
    expected, found = (
        torch.load(next(folder.rglob("last.ckpt")), weights_only=True)["state_dict"] for folder in (calm, run)
    )
    assert expected and all(torch.equal(found[name], value) for name, value in expected.items())


def test_wrong_credentials(tmp_path: Path, bucket: Bucket) -> None:
    def require_authorisation(after: str) -> None:
        place, header = f"{bucket.address}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        request = urllib.request.Request(place, data=after.encode(), headers=header)
        urllib.request.urlopen(request, timeout=20).close()

    require_authorisation("0")
    options = bucket.options(key="wrong")
    with pytest.raises(FdsrError, match=r"refuses access; check .*credentials") as caught:
        prepare(pair_config("s3://archive/era.zarr", storage_options=options), tmp_path / "pairs.zarr")
    require_authorisation("inf")
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "address", "words"),
    [
        ("s3://nowhere/era.zarr", None, "does not exist"),
        ("s3://archive/none.zarr", None, "does not exist"),
        ("s3://archive/era.zarr", "http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_no_such_place(tmp_path: Path, bucket: Bucket, source: str, address: str | None, words: str) -> None:
    options = bucket.options()
    if address:
        options["client_kwargs"]["endpoint_url"] = address
    with pytest.raises(FdsrError, match=words) as caught:
        prepare(pair_config(source, storage_options=options), tmp_path / "pairs.zarr")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_netcdf_in_a_bucket(tmp_path: Path, bucket: Bucket, store: PairStore) -> None:
    make_source().to_netcdf(tmp_path / "era.nc", engine="scipy")
    s3fs.S3FileSystem(**bucket.options()).put(str(tmp_path / "era.nc"), "archive/era.nc")
    found = PairStore(
        prepare(pair_config("s3://archive/era.nc", storage_options=bucket.options()), tmp_path / "pairs.zarr")
    )
    assert not store.spec.differences(found.spec)
