"""The study of signal and noise: what a model's own noise leaves of its data at each scale."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fdsr.diffusion.noise import WhiteNoise

SCRIPT = Path(__file__).parents[2] / "experiments" / "signal_to_noise.py"


def test_noise_of_the_data_s_colour_leaves_the_scales_alike(
    trained: tuple[Path, Path], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("signal_to_noise", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setenv("FDSR_CACHE", str(world / "cache"))
    _, run = trained  # coloured noise
    script.main([str(run), "--output", str(tmp_path / "figure.png")])
    with (tmp_path / "figure.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / "figure.png").stat().st_size > 5000
    module = script.load_module(run / "checkpoints" / "last.ckpt")
    assert [*dict.fromkeys(r["variable"] for r in rows)] == module.spec.high_channels
    for name in module.spec.high_channels:
        assert decades(rows, name) < 1.0
    # white noise leaves the signal's own spectrum
    module.process.noise = WhiteNoise()
    monkeypatch.setattr(script, "load_module", lambda _: module)
    white = script.measure(script.RunFolder(run))
    for name in module.spec.high_channels:
        assert decades(white, name) > decades(rows, name) + 0.5


def decades(rows: list[dict[str, str]], name: str) -> float:
    """Between the largest and the least ratio, of the scales that patches show."""
    ratio = [float(r["signal_to_noise"]) for r in rows if r["variable"] == name and float(r["points_per_wave"]) < 16]
    return float(np.ptp(np.log10(ratio)))
