import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scores.spatial import fss_2d

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.metrics import ExceedanceScores, FieldMetrics, Task, read_thresholds
from fdsr.metrics.precipitation import Neighbourhood

from .fields import plane, synthesise


def rain(times: int = 3, members: int = 4, size: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Members (B, M, 1, H, W) and truth (B, 1, H, W): about two thirds dry, skewed, in mm."""
    fields = np.stack([synthesise(64, -3.0, seed + i)[:size, : size + 8] for i in range(times * (members + 1))])
    fields /= fields.std()
    wet = torch.from_numpy(np.maximum(np.exp(fields) - 1.5, 0.0)).reshape(times, members + 1, 1, size, size + 8)
    return wet[:, 1:], wet[:, 0]


def equal_cells(thresholds: list[float], scales: list[float], height: int = 40, width: int = 48) -> ExceedanceScores:
    return ExceedanceScores(Grid(2.0 * np.arange(height), 2.0 * np.arange(width), "km"), [thresholds], scales)


@pytest.mark.parametrize("window", [1, 3, 7, 15])
def test_fss_against_scores(window: int) -> None:
    p, y = rain(members=1)
    metric = equal_cells([0.5, 2.0], [2.0 * window])
    metric.update(p, y)
    dims = ("time", "y", "x")
    for i, threshold in enumerate((0.5, 2.0)):
        expected = fss_2d(
            xr.DataArray(p[:, 0, 0].numpy(), dims=dims),
            xr.DataArray(y[:, 0].numpy(), dims=dims),
            event_threshold=threshold,
            window_size=(window, window),
            spatial_dims=["y", "x"],
            reduce_dims="all",
        )
        assert metric.values()["fss"][0, i, 0] == pytest.approx(float(expected), rel=1e-10)


def test_brier_and_wet_fractions_against_plain_numpy() -> None:
    p, y = rain()
    grid = Grid(np.linspace(70.0, 31.0, 40), np.arange(48.0))
    w, metric = grid.cell_areas, ExceedanceScores(grid, [[0.5, 2.0]], [2.0])
    metric.update(p, y)
    cells = np.broadcast_to(w[:, None], y[:, 0].shape)
    found = {name: value[0] for name, value in metric.values().items()}
    for i, threshold in enumerate((0.5, 2.0)):
        probability, event = (p[:, :, 0].numpy() >= threshold).mean(1), y[:, 0].numpy() >= threshold
        assert found["brier"][i].item() == pytest.approx(
            np.average((probability - event) ** 2, weights=cells), rel=1e-12
        )
        assert found["wet_fraction"][i].item() == pytest.approx(np.average(probability, weights=cells), rel=1e-12)
        assert found["wet_fraction_truth"][i].item() == pytest.approx(np.average(event, weights=cells), rel=1e-12)
        ratio = np.average(probability, weights=cells) / np.average(event, weights=cells)
        assert found["frequency_bias"][i].item() == pytest.approx(ratio, rel=1e-12)


def test_brier_of_a_perfect_ensemble_is_the_variance_of_the_event() -> None:
    # truth and M members independent with probability q: E(p − o)² = q(1 − q)(1 + 1/M)
    generator = torch.Generator().manual_seed(3)
    p, y = (torch.rand(shape, generator=generator) for shape in ((40, 4, 1, 40, 48), (40, 1, 40, 48)))
    metric = equal_cells([0.7], [2.0])
    metric.update(p, y)
    assert metric.compute()["brier"].item() == pytest.approx(0.3 * 0.7 * 1.25, abs=3e-3)


@settings(max_examples=25)
@given(
    height=st.integers(1, 12),
    width=st.integers(2, 14),
    scale=st.floats(0.5, 12.0),
    periodic=st.booleans(),
    narrowing=st.booleans(),
)
def test_windows_cell_by_cell(height: int, width: int, scale: float, periodic: bool, narrowing: bool) -> None:
    dx = np.linspace(1.0, 0.3, height) if narrowing else np.ones(height)
    window = Neighbourhood(scale, 1.0, dx, width, periodic)
    field = torch.rand(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    total = window.sum(field)

    def half(cells: float) -> int:
        return max(0, int(np.floor((cells - 1) / 2 + 0.5)))

    for i in range(height):
        rows = range(i - half(scale), i + half(scale) + 1)
        for j in range(width):
            expected, inside = 0.0, True
            for r in rows:
                if not 0 <= r < height:
                    inside = False
                    continue
                h = min(half(scale / dx[r]), (width - 1) // 2) if periodic else half(scale / dx[r])
                for c in range(j - h, j + h + 1):
                    if periodic or 0 <= c < width:
                        expected += field[r, c % width].item()
                    else:
                        inside = False
            assert total[i, j].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
            assert bool(window.inside[i, j]) == inside


def test_masked_cells_do_not_count() -> None:
    p, y = rain()
    hidden = y.clone()
    hidden[..., :8] = torch.nan
    other = p.clone()
    other[..., :8] = torch.nan
    masked, cut = equal_cells([0.5], [2.0, 6.0]), equal_cells([0.5], [2.0, 6.0], width=40)
    masked.update(other, hidden)
    cut.update(p[..., 8:], y[..., 8:])
    a, b = masked.compute(), cut.compute()
    for name in ("wet_fraction", "wet_fraction_truth", "frequency_bias", "brier"):
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=0)
    # windows of one cell are the same; wider ones reach over what is left of the cut
    assert a["fss"].reshape(-1)[0].item() == pytest.approx(b["fss"].reshape(-1)[0].item(), rel=1e-10)
    # by hand: the mean over the cells of a window that count
    valid = (~hidden[:, 0].isnan()).double().numpy()
    prob, event = ((p[:, :, 0].numpy() >= 0.5).mean(1) * valid, (y[:, 0].numpy() >= 0.5) * valid)
    top = bottom = 0.0
    for b_, i, j in np.argwhere(valid > 0):
        if 1 <= i < 39 and 1 <= j < 47:
            box = (b_, slice(i - 1, i + 2), slice(j - 1, j + 2))
            f, o = prob[box].sum() / valid[box].sum(), event[box].sum() / valid[box].sum()
            top, bottom = top + (f - o) ** 2, bottom + f**2 + o**2
    assert a["fss"].reshape(-1)[1].item() == pytest.approx(1 - top / bottom, rel=1e-10)


def test_degenerate_events() -> None:
    p, y = rain(times=1)
    dry = equal_cells([100.0], [2.0, 500.0])
    dry.update(p, y)
    found = dry.compute()
    assert found["brier"].item() == 0.0 and found["wet_fraction"].item() == 0.0
    assert (
        found["frequency_bias"].isnan().all() and found["fss"].isnan().all()
    )  # the event happens nowhere; a window larger than the grid
    perfect = equal_cells([0.5], [2.0])
    perfect.update(y[:, None], y)
    assert perfect.compute()["fss"].item() == pytest.approx(1.0, abs=1e-12)
    missing = equal_cells([0.5], [2.0])
    p[0, 1, 0, 3, 3] = torch.nan
    missing.update(p, y)
    assert missing.compute()["brier"].isnan()
    with pytest.raises(FdsrError, match="thresholds must be finite"):
        equal_cells([], [2.0])
    with pytest.raises(FdsrError, match="scales must be positive"):
        equal_cells([0.5], [0.0])


def test_a_variable_asks_and_others_do_not() -> None:
    p, y = rain()
    metrics = FieldMetrics(Task(plane((40, 48), (2.0, 2.0)), ["t2m", "tp"], thresholds={"tp": (0.5, 2.0)}, scales=[6.0]))  # fmt: skip
    metrics.update(torch.cat([p, p], 2), torch.cat([y, y], 1))
    found = metrics.compute()
    alone = equal_cells([0.5, 2.0], [6.0])
    alone.update(p, y)
    assert set(found["brier_0.5"]) == {"tp"}
    assert found["brier_2"]["tp"] == pytest.approx(alone.values()["brier"][0, 1], rel=1e-12)
    assert found["fss_2_6km"]["tp"] == pytest.approx(alone.values()["fss"][0, 1, 0], rel=1e-12)
    assert "wet_fraction_truth_0.5" in found and not [k for k in found if k.startswith("events")]


@pytest.mark.parametrize("given", ["0.1, 1", "[0.1 1.0]", [0.1, 1.0], np.array([0.1, 1]), "(0.1;1)"])
def test_thresholds_as_attributes_hold_them(given: object) -> None:
    assert read_thresholds(given) == pytest.approx((0.1, 1.0))
    assert read_thresholds(0.1) == (0.1,)
    with pytest.raises(FdsrError, match="are not numbers"):
        read_thresholds("wet")
