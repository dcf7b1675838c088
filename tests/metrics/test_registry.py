"""Metrics by name: which ones a list means, in which order, and what is refused."""

from __future__ import annotations

import pytest

from fdsr.errors import FdsrError
from fdsr.metrics import CRPS, MAE, RMSE, CellMean, FieldMetrics, Score, ScoreMetric, Task, WeatherFrechet
from fdsr.metrics.registry import DEFAULT, METRICS, MetricNames, find_metrics

from .fields import grid


class Own(CellMean):
    scores = (Score("own", "a score of one's own"),)


class Same(CellMean):
    scores = (Score("other", "another"), Score("own", "the same name"))


class Nameless(CellMean):
    """Gives nothing."""


HERE = __name__


USUAL = [m for m in METRICS if not m.on_demand]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (None, USUAL),
        ("+weather_frechet", [m for m in METRICS if m in (*USUAL, WeatherFrechet)]),
        ("crps, rmse", [RMSE, CRPS]),
        (["crps", "rmse", "crps"], [RMSE, CRPS]),
        ([Own, "mae"], [MAE, Own]),
        (f"{HERE}.Own mae", [MAE, Own]),
        ([f"+{HERE}.Own"], [*USUAL, Own]),
    ],
)
def test_what_a_list_means(names: MetricNames | None, found: list[type[ScoreMetric]]) -> None:
    assert find_metrics(names) == found


def test_a_plus_is_beside_the_defaults_of_who_asks() -> None:
    assert [m.name for m in find_metrics("+quantiles", default=("rmse",))] == ["rmse", "quantiles"]
    assert [m.name for m in find_metrics(None, default=("rmse",))] == ["rmse"]
    assert "weather_frechet" not in DEFAULT and "rank_histogram" in DEFAULT


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("rsme", "there is no metric 'rsme'; it must be one of rmse, mae, .*or the path of a class of your own"),
        ("nolab.scores.Own", "metric 'nolab.scores.Own' cannot be imported: No module named 'nolab'"),
        (f"{HERE}.Missing", "cannot be imported: module .* has no attribute 'Missing'"),
        (
            "math.pi",
            "'math.pi' is no metric, a subclass of fdsr.metrics.ScoreMetric that declares its scores",
        ),
        ([Nameless], "is no metric, a subclass of"),
        ([Own, Same], "Own and Same both give 'own'; leave one out or rename it"),
    ],
)
def test_refused(names: MetricNames, message: str) -> None:
    with pytest.raises(FdsrError, match=message):
        find_metrics(names)


def test_what_has_no_meaning_for_the_fields_is_left_out() -> None:
    metrics = FieldMetrics(Task(grid(), ["t2m"]), "rmse zonal events rank_histogram coarse_consistency")
    assert list(metrics.metrics) == ["rmse"]
    with pytest.raises(FdsrError, match="the metric 'zonal' is not kept; there is rmse"):
        metrics["zonal"]
