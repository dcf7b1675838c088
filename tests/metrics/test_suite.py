import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, Task

from .fields import grid, plane, sample

NAMES = ["t2m", "u10"]
SCORES = {
    "rmse", "mae", "bias", "crps", "crps_biased", "spread_skill", "lsd", "lsd_fine", "melr", "coarse_consistency",
    "resolved_scale", "effective_resolution", "q0_1_error", "q1_error", "q99_error", "q99_9_error",
}  # fmt: skip


def build(**kwargs: object) -> FieldMetrics:
    return FieldMetrics(Task(grid(), NAMES, 4, members=5, **kwargs))  # type: ignore[arg-type]


def data(times: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    low = torch.randn(times, 2, 6, 9, generator=torch.Generator().manual_seed(8)) + 280
    return *sample(times=times), low


def same(a: FieldMetrics, b: FieldMetrics, rtol: float = 1e-9) -> None:
    left, right = a.compute(), b.compute()
    assert set(left) == set(right) == SCORES
    for metric in left:
        for name in NAMES:
            # white noise against white noise: no scale of the mean is resolved
            assert math.isfinite(left[metric][name]) or metric in ("resolved_scale", "effective_resolution")
            assert left[metric][name] == pytest.approx(right[metric][name], rel=rtol, abs=1e-12)
    for name, key in (("rank_histogram", "rank_histogram"), ("spectral", "power")):
        np.testing.assert_allclose(a[name].values()[key], b[name].values()[key], rtol=rtol)


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(0, 5), max_size=3), workers=st.integers(1, 3))
def test_any_split_and_merge_gives_the_same(cuts: list[int], workers: int) -> None:
    p, y, low = data()
    whole = build()
    whole.update(p, y, low)
    shares = [build() for _ in range(workers)]
    edges = [0, *sorted(cuts), 5]
    for i, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = slice(start, stop)  # may be empty
        shares[i % workers].update(p[part], y[part], low[part])
    for other in shares[1:]:
        for mine, theirs in zip(shares[0], other, strict=True):
            mine.merge_state(theirs)
    same(whole, shares[0])


def test_reset_forgets() -> None:
    p, y, low = data()
    fresh, used = build(), build()
    used.update(p + 3, y, low)
    for metric in used:
        metric.reset()
    for metrics in (fresh, used):
        metrics.update(p, y, low)
    same(fresh, used, rtol=0)


def test_a_module_holds_it_without_a_trace() -> None:
    p, y, low = data()
    reference, held = build(), build()
    module = torch.nn.Module()
    module.metrics = held
    module.to(torch.bfloat16)
    assert not module.state_dict()
    reference.update(p, y, low)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        held.update(p, y, low)
    same(reference, held, rtol=0)


def test_low_names_pair_the_channels() -> None:
    p, y, low = data()
    plain, paired = build(), build(low_names=["z500", "u10"])
    plain.update(p, y, low)
    paired.update(p, y, low)
    consistency = paired.compute()["coarse_consistency"]
    assert math.isnan(consistency["t2m"])
    assert consistency["u10"] == pytest.approx(plain.compute()["coarse_consistency"]["u10"], rel=1e-12)
    assert "coarse_consistency" not in FieldMetrics(Task(grid(), NAMES, 4, low_names=["z500"])).compute()


def test_degenerate_grids_have_defined_answers() -> None:
    row = FieldMetrics(Task(Grid([45.0], np.arange(10.0)), ["t2m"]))
    row.update(torch.ones(1, 1, 1, 1, 10), torch.zeros(1, 1, 1, 10))
    scores = {metric: values["t2m"] for metric, values in row.compute().items()}
    assert scores["rmse"] == scores["mae"] == scores["bias"] == scores["crps"] == 1.0
    assert math.isnan(scores["spread_skill"]) and math.isnan(scores["lsd"]) and math.isnan(scores["melr"])
    assert all(math.isnan(v["t2m"]) for v in FieldMetrics(Task(grid(), ["t2m"], 4)).compute().values())  # nothing seen


def test_projected_cells_weigh_the_same() -> None:
    metrics = FieldMetrics(Task(plane((24, 36), (2.0, 2.0)), ["t2m"]))
    p = torch.zeros(1, 1, 1, 24, 36)
    p[..., 0, :] = 24.0
    metrics.update(p, torch.zeros(1, 1, 24, 36))
    assert metrics.compute()["mae"]["t2m"] == pytest.approx(1.0, rel=1e-12)
    assert metrics["spectral"].coordinates()["wavenumber"][1][0, 0] == pytest.approx(1 / 48.0)


def test_errors() -> None:
    with pytest.raises(FdsrError, match="a prediction is"):
        build().update(torch.zeros(1, 2, 24, 36), torch.zeros(1, 2, 24, 36))
    with pytest.raises(FdsrError, match="the metric 'rank_histogram' is not kept; there is rmse, "):
        FieldMetrics(Task(grid(), NAMES))["rank_histogram"]


def test_importing_the_metrics_does_not_import_xarray() -> None:
    code = "import sys, fdsr.metrics; assert not {'xarray', 'lightning', 'zarr'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
