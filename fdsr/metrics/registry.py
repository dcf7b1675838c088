"""Metrics by name: those of fdsr, and a user's own by the path of their class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import Any

from fdsr.errors import FdsrError
from fdsr.metrics.amount_spectra import AmountSpectra
from fdsr.metrics.climate import CorrelationErrors, FieldMaximum
from fdsr.metrics.consistency import CoarseConsistency
from fdsr.metrics.energy import EnergyScore, JointEnergyScore
from fdsr.metrics.ensemble import CRPS, RankHistogram, SpreadSkill
from fdsr.metrics.log_spectral import SpectralScores, ZonalScores
from fdsr.metrics.persistence import LagCorrelationError
from fdsr.metrics.pointwise import MAE, RMSE, Bias
from fdsr.metrics.precipitation import ExceedanceScores
from fdsr.metrics.quantiles import QuantileErrors
from fdsr.metrics.reliability import Reliability
from fdsr.metrics.score_metric import ScoreMetric
from fdsr.metrics.weather_frechet import WeatherFrechet
from fdsr.scores import Score

# in the order of tables
METRICS: tuple[type[ScoreMetric], ...] = (
    RMSE, MAE, Bias, CRPS, SpreadSkill, SpectralScores, QuantileErrors, ZonalScores, CoarseConsistency, RankHistogram,
    EnergyScore, JointEnergyScore, FieldMaximum, CorrelationErrors, LagCorrelationError, WeatherFrechet, ExceedanceScores, Reliability,
    AmountSpectra,
)  # fmt: skip
DEFAULT = tuple(metric.name for metric in METRICS if not metric.on_demand)

# names, paths of classes, or classes; see `find_metrics`
MetricNames = str | Sequence[str | type[ScoreMetric]]


def find_metrics(names: MetricNames | None, default: Sequence[str] = DEFAULT) -> list[type[ScoreMetric]]:
    """The metrics called `names`, in the order of tables, a user's own last; those of `default` where it is None.

    A name may be that of a metric of fdsr, the path of a class of the user's (`mylab.scores.Outside`), or the class. One that
    begins with a plus is meant beside the default ones: `+weather_frechet`. Several may stand in one text, with commas.

    Raises FdsrError for an unknown name, a class that is no metric, and two metrics that give a score of one name.
    """
    asked = [] if names is None else [*_split(names)]
    plain = [name.removeprefix("+") if isinstance(name, str) else name for name in asked]
    found = dict.fromkeys(map(_find, plain if asked and plain == asked else [*default, *plain]))
    known = [metric for metric in METRICS if metric in found]
    chosen = [*known, *(metric for metric in found if metric not in METRICS)]
    givers: dict[str, type[ScoreMetric]] = {}
    for metric in chosen:
        for name in {metric.name, *(score.name for score in metric.scores)}:
            if givers.setdefault(name, metric) is not metric:
                both = f"{givers[name].__name__} and {metric.__name__}"
                raise FdsrError(f"{both} both give '{name}'; leave one out or rename it")
    return chosen


def shipped_scores() -> dict[str, Score]:
    """What the metrics of fdsr give, by name."""
    return {score.name: score for metric in METRICS for score in metric.scores}


def _split(names: MetricNames) -> Iterator[Any]:
    for entry in [names] if isinstance(names, str) else names:
        yield from (part for part in entry.replace(",", " ").split()) if isinstance(entry, str) else (entry,)


def _find(name: str | type[ScoreMetric]) -> type[ScoreMetric]:
    if not isinstance(name, str):
        found: Any = name
    elif "." in name:
        try:
            found = resolve_name(":".join(name.rsplit(".", 1)))
        except (ImportError, AttributeError) as error:
            raise FdsrError(f"metric '{name}' cannot be imported: {error}") from error
    else:
        known = {metric.name: metric for metric in METRICS}
        if name not in known:
            raise FdsrError(
                f"there is no metric '{name}'; it must be one of {', '.join(known)}, or the path of a class of your own, such as "
                "mylab.scores.Outside"
            )
        found = known[name]
    if not (isinstance(found, type) and issubclass(found, ScoreMetric) and hasattr(found, "name")):
        raise FdsrError(f"'{name}' is no metric, a subclass of fdsr.metrics.ScoreMetric that declares its scores")
    return found
