"""What scores say of themselves: in a column, in a dataset, and of a single member."""

from __future__ import annotations

import pytest
import xarray as xr

from fdsr.metrics.registry import METRICS, shipped_scores
from fdsr.scores import Score, find_score

SCORES = shipped_scores()


def test_every_score_has_one_name_and_says_what_it_is() -> None:
    declared = [score for metric in METRICS for score in metric.scores]
    assert len({score.name for score in declared}) == len({score.column for score in declared}) == len(declared)
    assert all(score.long_name and score.unit for score in declared)
    assert all(score.stand_in in SCORES for score in declared if score.stand_in)


@pytest.mark.parametrize("score", [*SCORES.values(), Score("a", "b", "c", "K", "higher", headline=True)])
def test_a_dataset_keeps_all_of_it(score: Score, tmp_path: object) -> None:
    ds = xr.Dataset({score.name: ("variable", [1.0], score.attributes()), "other": 2.0})
    ds.to_netcdf(f"{tmp_path}/scores.nc", engine="scipy")
    with xr.open_dataset(f"{tmp_path}/scores.nc", engine="scipy") as found:
        assert Score.from_attributes(score.name, found[score.name].attrs) == score
        assert Score.from_attributes("other", found["other"].attrs) is None


def test_the_direction_decides_which_value_is_better() -> None:
    def better(name: str, a: float, b: float) -> bool:
        badness = SCORES[name].badness
        assert badness is not None
        return badness(a) < badness(b)

    assert better("rmse", 1.0, 2.0) and better("fss", 0.9, 0.5)
    assert better("bias", -0.1, 0.2) and better("spread_skill", 0.9, 1.2)
    assert SCORES["wet_fraction"].badness is None
    assert SCORES["bias"].what.endswith("best nearest to 0") and "best" not in SCORES["rmse"].what


def test_a_single_member_has_a_mean_absolute_error_for_its_crps_and_no_spread() -> None:
    assert SCORES["crps"].shown(2) == "crps" and SCORES["crps"].shown(1) == "mae"
    assert SCORES["spread_skill"].shown(1) is None and SCORES["crps_biased"].shown(1) is None
    assert SCORES["rmse"].shown(1) == "rmse"


def test_columns_and_labels() -> None:
    assert SCORES["lsd"].column == "LSD (dB)" and SCORES["crps"].column == "CRPS" and SCORES["melr"].column == "MELR"
    event = find_score("fss_1_50km", SCORES)
    assert event is not None and event.column == "FSS 1, 50km" and event.direction == "higher"
    quantile = find_score("q0_1_error", SCORES)
    assert quantile is SCORES["q0_1_error"] and find_score("mystery_2", SCORES) is None
