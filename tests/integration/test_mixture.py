"""The study of eight Gaussians: what it says of samples, and that a denoising diffusion GAN finds the modes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fdsr.modules.kinds import KINDS

SCRIPT = Path(__file__).parents[2] / "experiments" / "mixture.py"


@pytest.fixture(scope="session")
def mixture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mixture", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mixture"] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_said_of_samples(mixture: ModuleType) -> None:
    data = mixture.Points(20_000, seed=3).points
    facts = mixture.judge(data)
    # P(|x| < 3σ) in two dimensions is 1 − e^{−9/2}; the next centre is far
    assert facts["modes"] == 8 and facts["within_radius"] == pytest.approx(0.98889, abs=0.004)
    assert facts["least_mode"] == pytest.approx(0.98889 / 8, abs=0.01) and facts["most_mode"] < 0.14
    assert mixture.judge(mixture.CIRCLE.centres[:3].repeat(100, 1))["modes"] == 3
    # the mean of all is the answer of a forecast that knows one value only
    assert mixture.judge(torch.zeros(100, 2)) == {
        "modes": 0, "nearest_modes": 1, "within_radius": 0.0, "least_mode": 0.0, "most_mode": 0.0,
    }  # fmt: skip


def test_scattered_modes_are_25_of_unit_variance(mixture: ModuleType) -> None:
    points = mixture.Points(20_000, 3, mixture.SCATTERED).points
    facts = mixture.judge(points, mixture.SCATTERED)
    assert facts["modes"] == facts["nearest_modes"] == 25 and facts["within_radius"] == pytest.approx(
        0.98889, abs=0.004
    )
    assert float(points.std()) == pytest.approx(1, abs=0.1)


def test_points_are_a_kind_of_data_that_checkpoints_know(mixture: ModuleType) -> None:
    assert KINDS["points"].spec is mixture.PointSpec


@pytest.mark.slow
def test_four_steps_find_the_modes(mixture: ModuleType) -> None:
    """After a quarter of the study's training."""
    before = mixture.judge(mixture.draw(mixture.train(4, 1)[0], 2000))
    module, course = mixture.train(4, 1000)
    facts = mixture.judge(mixture.draw(module, 2000))
    assert list(course) == [250, 500, 750, 1000] and course[1000] == mixture.judge(mixture.draw(module, 4000))
    assert before["modes"] < 4 and facts["modes"] == 8 and facts["within_radius"] > 0.4, (before, facts)
