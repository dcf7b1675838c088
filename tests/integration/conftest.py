"""Helpers of the tests that run the program as a user would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from synthetic import run_config


@pytest.fixture(scope="session")
def trained(world: Path, source_path: str) -> tuple[Path, Path]:
    """(configuration, run directory) of a tiny Fourier DDPM fitted for three steps; read only."""
    import os

    from fdsr.cli import main

    config, run = world / "trained.yaml", world / "trained"
    config.write_text(yaml.safe_dump(run_config(source_path)))
    before = os.environ.get("FDSR_CACHE")
    os.environ["FDSR_CACHE"] = str(world / "cache")
    try:
        assert main(["fit", "--config", str(config), "--run", str(run)]) == 0
    finally:
        if before is None:
            del os.environ["FDSR_CACHE"]
        else:
            os.environ["FDSR_CACHE"] = before
    return config, run


@pytest.fixture
def refused(program: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refused("fit", …): the one line that the program says before it exits with status 2."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        status = program(*arguments)
        out, err = capfd.readouterr()
        assert status == 2, (status, out, err)
        assert "Traceback" not in out + err
        # progress bars redraw themselves on the same stream
        drawn = re.compile(r"\[\d\d:\d\d")
        lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip() and not drawn.search(line)]
        assert len(lines) == 1 and lines[0].startswith("fdsr: error: "), err
        return lines[0].removeprefix("fdsr: error: ")

    return run
