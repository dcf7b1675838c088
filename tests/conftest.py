"""Fixtures of the tests of data, modules, callbacks and the command line."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import xarray as xr
import yaml
from hypothesis import settings
from synthetic import TINY_DDGAN, TINY_UNET, make_source, pair_config, randomise, run_config, write_source

import fdsr.modules
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule, prepare
from fdsr.diffusion import DPMSolverPP
from fdsr.modules import DownscalingModule

# The same examples every time, and no deadline: a test's verdict must not depend on luck or on the machine's load.
# HYPOTHESIS_PROFILE=explore draws new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
# Runs log to W&B by default, in a process of its own: only where a test asks for it. Programs that tests start inherit this.
os.environ["WANDB_MODE"] = "disabled"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="fail if a test is skipped: all that tests can use is there"
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # workers have none
    if reporter and session.config.getoption("no_skips") and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped and config.getoption("no_skips"):
        terminalreporter.write_line(f"--no-skips: {skipped} skipped, as listed above, where none may be", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes a second fails before what takes a minute begins."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that lives as long as the session."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="session")
def source_data() -> xr.Dataset:
    return make_source()


@pytest.fixture(scope="session")
def source_path(world: Path, source_data: xr.Dataset) -> str:
    """The tiny source: 18 times, t2m and u10, 24 × 48 global; read only."""
    return write_source(source_data, world / "source.zarr")


@pytest.fixture(scope="session")
def store_path(world: Path, source_path: str) -> str:
    """The tiny source's pair store; read only."""
    return str(prepare(pair_config(source_path), world / "pairs.zarr"))


@pytest.fixture(scope="session")
def store(store_path: str) -> PairStore:
    return PairStore(store_path)


@pytest.fixture
def data(store_path: str) -> WeatherDataModule:
    module = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=4, patches_per_step=4)
    module.setup("fit")
    return module


@pytest.fixture
def field_batch(data: WeatherDataModule) -> WeatherBatch:
    """Two whole fields of the test block."""
    return torch.utils.data.default_collate([data.fields("test")[i] for i in range(2)])


@pytest.fixture
def build(store: PairStore) -> Callable[..., DownscalingModule]:
    """build("DDPMModule", **arguments): a tiny method on the tiny store, its network's weights random."""

    def make(name: str, **arguments: Any) -> DownscalingModule:
        if name in ("DDPMModule", "FourierDDPMModule"):
            arguments = {"backbone_args": TINY_UNET, "sampler": DPMSolverPP(2), "members": 2} | arguments
        if name == "DDGANModule":
            arguments = TINY_DDGAN | {"members": 2} | arguments
        if name == "RegressionModule":
            arguments = {"backbone_args": TINY_UNET | {"time_embedding": False}} | arguments
        module: DownscalingModule = getattr(fdsr.modules, name)(**arguments)
        module.attach(store.spec)
        randomise(module)
        return module.eval()

    return make


@pytest.fixture
def quiet_trainer(tmp_path: Path) -> Callable[..., L.Trainer]:
    """A Trainer on one CPU that writes nothing unasked."""

    def make(**arguments: Any) -> L.Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
            "enable_checkpointing": False, "num_sanity_val_steps": 0, "default_root_dir": tmp_path,
            "use_distributed_sampler": False,
        }  # fmt: skip
        return L.Trainer(**(defaults | arguments))

    return make


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, world: Path) -> Callable[..., int]:
    """program("fit", "--config", …): the command line in this process; returns its exit status.

    Pair stores go to one cache for the session.
    """
    from fdsr.cli import main

    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    monkeypatch.setattr(sys, "argv", ["fdsr"])

    def run(*arguments: object) -> int:
        return main([str(a) for a in arguments])

    return run


@pytest.fixture
def configure(tmp_path: Path, source_path: str) -> Callable[..., Path]:
    """configure(method, section__key=value, …): write a configuration for the tiny source and return its path."""

    def write(method: str = "FourierDDPMModule", name: str = "tiny", source: str = source_path, **changes: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(copy.deepcopy(run_config(source, method, **changes))))
        return path

    return write
