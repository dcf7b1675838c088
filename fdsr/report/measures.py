"""What is known of the scores in a table: as the test has noted beside their values, or as the metrics of fdsr declare them."""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr

from fdsr.scores import Score, find_score

SECONDS = Score("seconds", "seconds that one member of one field took, where it was measured", "s a member", unit="")


def described(scores: xr.Dataset | None, labels: Iterable[str]) -> dict[str, Score]:
    """Name → score, of a test's dataset; with those of fdsr where it does not know a label, as that of an older test."""
    variables = {} if scores is None else scores.data_vars
    noted = {str(name): Score.from_attributes(str(name), values.attrs) for name, values in variables.items()}
    found = {name: score for name, score in noted.items() if score is not None}
    if any(find_score(label, found) is None for label in labels):
        from fdsr.metrics.registry import shipped_scores  # here, since it takes torch

        found = shipped_scores() | found
    return found


def ratio(score: Score) -> Score:
    """The column of a score's mean ratio to the reference."""
    whose = f"{(score.stand_in or score.name).upper()} of the reference"
    return Score(
        f"{score.name}_relative", f"{score.title} over the {whose}, mean over variables", f"{score.title} ratio", "1", score.direction
    )  # fmt: skip
