"""The Fréchet distance of patches: what it compares, that sums merge, and that it grows with what is done to fields."""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, Task, WeatherFrechet
from fdsr.metrics.frechet import frechet_distance
from fdsr.metrics.patch_network import FEATURES, TASKS, PatchNetwork
from fdsr.metrics.weather_frechet import FEW, load_patch_network, patches_of
from fdsr.turbulence import FLOWS, Damping, SpectralPlane, Turbulence

pytestmark = pytest.mark.filterwarnings("ignore:weather_frechet rests on:RuntimeWarning")


def rough(times: int = 6, variables: int = 2, n: int = 64, seed: int = 0, slope: float = -1.3) -> Tensor:
    """Gaussian fields (times, variables, n, n) whose amplitudes fall like k^slope."""
    white = torch.randn(times, variables, n, n, generator=torch.Generator().manual_seed(seed))
    k = torch.hypot(torch.fft.fftfreq(n, 1 / n)[:, None], torch.fft.rfftfreq(n, 1 / n)[None, :]).clamp(min=1)
    return torch.fft.irfft2(torch.fft.rfft2(white) * k**slope, s=(n, n))


def distance(prediction: Tensor, truth: Tensor) -> Tensor:
    metric = WeatherFrechet(truth.shape[1])
    metric.update(prediction, truth)
    return metric.compute()["weather_frechet"].reshape(-1)


def test_patches_tile_a_field() -> None:
    field = torch.arange(70 * 100.0).reshape(1, 70, 100)
    patches = patches_of(field)
    assert patches.shape == (1, 6, 32, 32)
    for p, (row, column) in enumerate((r, c) for r in (0, 32) for c in (0, 32, 64)):
        assert torch.equal(patches[0, p], field[0, row : row + 32, column : column + 32])


def test_the_distance_is_that_of_the_features() -> None:
    """By hand: numpy's covariances and scipy's matrix square root of the features of standardised patches."""
    truth, prediction = rough(24, 1, 96), rough(48, 1, 96, seed=1, slope=-1.6).unflatten(0, (24, 2))
    network, _ = load_patch_network()
    true, made = patches_of(truth[:, 0]), patches_of(prediction[:, :, 0])
    mean, deviation = true.mean((-2, -1), keepdim=True), true.std((-2, -1), keepdim=True)
    features = [
        network.embed(((x - mean.unsqueeze(1)) / deviation.unsqueeze(1)).reshape(-1, 32, 32)).double().numpy()
        for x in (true[:, None], made)
    ]
    (m1, s1), (m2, s2) = ((f.mean(0), np.cov(f.T)) for f in features)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert float(distance(prediction, truth)) == pytest.approx(expected, rel=1e-4)
    assert features[0].shape == (216, FEATURES)


def test_the_truth_itself_is_at_no_distance() -> None:
    truth = rough(20)
    assert distance(truth[:, None], truth).abs().max() < 1e-9


def test_units_and_means_do_not_count_but_amplitudes_do() -> None:
    truth, prediction = rough(20, 1), rough(20, 1, seed=5)[:, None]
    here = distance(prediction, truth)
    torch.testing.assert_close(distance(prediction * 50 + 280, truth * 50 + 280), here, rtol=1e-2, atol=1e-4)
    assert distance(truth[:, None] * 1.5, truth) > 10 * distance(truth[:, None] * 1.05, truth)


def test_sums_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, prediction = rough(8), rough(24, seed=2).unflatten(0, (8, 3))
    whole, parts = WeatherFrechet(2), [WeatherFrechet(2), WeatherFrechet(2)]
    whole.update(prediction, truth)
    parts[0].update(prediction[:3], truth[:3])
    parts[1].update(prediction[3:], truth[3:])
    parts[0].merge_state(parts[1])
    for name, value in whole.compute().items():
        torch.testing.assert_close(parts[0].compute()[name], value, rtol=1e-6, atol=1e-9)
    assert not whole.state_dict()
    assert torch.equal(copy.deepcopy(whole).compute()["weather_frechet"], whole.compute()["weather_frechet"])


def test_missing_constant_and_small_patches() -> None:
    truth, prediction = rough(20), rough(20, seed=3)[:, None]
    truth[0, 0, 5, 5], truth[1, 0, :32, :32] = torch.nan, 4.0
    metric = WeatherFrechet(2)
    metric.update(prediction, truth)
    assert metric.compute()["weather_frechet_patches"].tolist() == [78.0, 80.0]
    assert bool(metric.compute()["weather_frechet"].isfinite().all())
    small = WeatherFrechet(1)
    small.update(prediction[:, :, :1, :31], truth[:, :1, :31])
    assert bool(small.compute()["weather_frechet"].isnan().all())


def test_few_patches_are_warned_of() -> None:
    metric = WeatherFrechet(1)
    truth = rough(FEW // 4, 1)
    metric.update(truth[:50, None], truth[:50])
    with pytest.warns(RuntimeWarning, match="200 patches of the truth, fewer than 640"):
        metric.compute()
    metric.update(truth[50:, None], truth[50:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(metric.compute()["weather_frechet_patches"]) == FEW


def test_the_suite_gives_it_when_asked() -> None:
    rows, truth = np.arange(64.0), rough(12)
    plain, asked = (FieldMetrics(Task(Grid(rows, rows, "km"), ["a", "b"]), m) for m in (None, "+weather_frechet"))
    for metrics in (plain, asked):
        metrics.update(truth[:, None], truth)
    assert "weather_frechet" not in plain.compute()
    scores = asked.compute()
    assert scores["weather_frechet_patches"] == {"a": 48.0, "b": 48.0}
    assert scores["weather_frechet"]["b"] == pytest.approx(0, abs=1e-9)


def test_the_network_is_the_one_described() -> None:
    network, fingerprint = load_patch_network()
    assert 20_000 < sum(p.numel() for p in network.parameters()) < 28_000 and len(fingerprint) == 64
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    assert PatchNetwork()(torch.zeros(2, 32, 32)).shape == (2, len(TASKS))


@pytest.mark.slow
def test_it_grows_with_what_is_done_to_turbulence() -> None:
    """Fields of another resolution of the force than any the network was trained on: blur, noise, tilt and shuffled phases."""
    turbulence = Turbulence(FLOWS["sqg"], SpectralPlane(64), Damping(), wavenumber=5.0)
    generator = torch.Generator().manual_seed(3)
    q, fields = turbulence.initial(24, generator), []
    with torch.no_grad():
        for wait in (1.5, 0.5, 0.5, 0.5):
            q = turbulence.advance(q, wait * turbulence.turnover_time, generator)
            fields.append(turbulence.fields(q)[:, :1])
    truth = torch.cat(fields)
    k = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None, :]).clamp(min=1 / 64)
    white = torch.randn(truth.shape, generator=generator)
    phases = torch.fft.rfft2(white)
    phases = phases / phases.abs()

    def filtered(gain: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(truth) * gain, s=(64, 64))

    def shuffled(share: float) -> Tensor:
        which = torch.rand((*truth.shape[:-1], 33), generator=torch.Generator().manual_seed(0)) < share
        c = torch.fft.rfft2(truth)
        return torch.fft.irfft2(torch.where(which, c.abs() * phases, c), s=(64, 64))

    changes = {
        "blur": [filtered(torch.exp(-0.5 * (2 * np.pi * k * s) ** 2)) for s in (0.4, 0.8, 1.2, 2.0)],
        "noise": [truth + s * truth.std() * white for s in (0.02, 0.05, 0.1, 0.2)],
        "steeper": [filtered((8 * k) ** -s) for s in (0.1, 0.2, 0.4, 0.7)],
        "flatter": [filtered((8 * k) ** s) for s in (0.1, 0.2, 0.4, 0.7)],
        "shuffled": [shuffled(s) for s in (0.1, 0.3, 0.6, 1.0)],
    }
    halves = [WeatherFrechet(1), WeatherFrechet(1)]
    for metric, runs in zip(halves, (slice(0, 12), slice(12, 24)), strict=True):
        part = truth.unflatten(0, (4, 24))[:, runs].flatten(0, 1)
        metric.update(part[:, None], part)
    floor = float(frechet_distance(*(metric._statistics("truth", 0) for metric in halves)))
    for name, versions in changes.items():
        found = [float(distance(v[:, None], truth)) for v in versions]
        assert all(a < b for a, b in pairwise(found)), (name, found)
        assert found[-1] > 3 * floor, (name, found, floor)
