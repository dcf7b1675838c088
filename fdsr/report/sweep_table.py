"""A sweep's fid_vs_steps.csv, and what lies beside it, see `SweepFolder`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fdsr.drawing.style import Look, make_looks
from fdsr.errors import FdsrError
from fdsr.records import FLOOR, SweepFolder
from fdsr.scores import FID, IMAGE_SCORES

NAMES = {name: score.title for name, score in IMAGE_SCORES.items()} | {"fid_test": f"{FID.title} to the test images"}
TRAINING = ["method", "divergence", "T", "seed"]
_TEXTS = [*TRAINING, "n_generated", "n_reference", "device"]
_NUMBERS = [*NAMES, "nfe", "seconds_per_image"]
# of the last quarter of training: a curve that still changes by more is not flat
_FLAT = 0.05


@dataclass(frozen=True)
class SweepTable:
    """What a sweep has measured.

    rows: a test each: distances, evaluations and seconds as numbers, other columns as text, and besides them `label` (method and
        divergence), `images` (how many were compared, in words), `converged_fid` and the like (whether the training is shown to be,
        by that distance) and `picture` (of its samples, if it is there).
    floor: distance → what the published test images themselves come to.
    curves: as the file has them, in text.
    """

    path: Path
    rows: pd.DataFrame
    floor: dict[str, float]
    curves: pd.DataFrame

    @classmethod
    def read(cls, path: Path) -> SweepTable:
        """Raises FdsrError for a table without distances."""
        table = _read(path)
        if missing := [n for n in ("method", "T", "nfe", "seconds_per_image", "classifier_frechet") if n not in table]:
            raise FdsrError(f"'{path}' has no column '{missing[0]}'; it is not a fid_vs_steps.csv")
        folder = SweepFolder(path.parent)
        curves = _labelled(_read(folder.curves.path)) if folder.curves.exists() else pd.DataFrame()
        table = table.reindex(columns=_TEXTS + _NUMBERS, fill_value="")
        pictures = [folder.sample(row) for row in table.to_dict("records")]
        table[_NUMBERS] = table[_NUMBERS].apply(pd.to_numeric)
        rows = _labelled(table.assign(picture=pictures)[table["method"] != FLOOR])
        flat = flattened(curves)
        found = cls(
            path,
            rows.assign(
                images=[_images(*pair) for pair in zip(rows["n_generated"], rows["n_reference"], strict=True)],
                **{
                    f"converged_{name}": [(name, *t) in flat for t in rows[TRAINING].itertuples(index=False, name=None)]
                    for name in NAMES
                },
            ),
            {name: float(value) for name in NAMES for value in table.loc[table["method"] == FLOOR, name].dropna()},
            curves,
        )
        if not found.distances:
            raise FdsrError(f"'{path}' has no distance yet; finish a point of the sweep first")
        return found

    @property
    def name(self) -> str:
        return self.path.absolute().parent.name

    @property
    def distances(self) -> list[str]:
        """What is drawn."""
        return [name for name in ("fid", "classifier_frechet") if self.rows[name].notna().any()]

    @property
    def looks(self) -> dict[str, Look]:
        """Label → its look in every figure."""
        return make_looks({label: label for label in self.rows["label"]})


def flattened(curves: pd.DataFrame) -> set[tuple[str, ...]]:
    """(distance, method, divergence, T, seed) of the trainings whose distance changed by less than 5 % in their last quarter.

    Every measurement in that quarter, two at least, is compared with the last one before it, so that noise makes a training look
    unfinished rather than finished, and one that got worse has not converged either; one with fewer than four measurements shows nothing.
    """
    found = set()
    for (*training, metric), points in curves.groupby([*TRAINING, "metric"], sort=False) if len(curves) else ():
        steps, values = points["step"].astype(float), points["value"].astype(float)
        late = steps > 0.75 * steps.max()
        if len(points) >= 4 and late.sum() >= 2 and not late.all():
            before = values[~late].iloc[-1]
            if (values[late] - before).abs().max() < _FLAT * before:
                found.add((metric, *training))
    return found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FdsrError(f"'{path}' does not exist; 'fdsr sweep' writes it")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(label=(rows["method"] + " " + rows["divergence"]).str.strip())


def _images(generated: str, reference: str) -> str:
    """How many images were compared, in words; nothing where the table does not say."""
    return f"{int(generated):,} images" * bool(generated) + f" with {int(reference or 0):,}" * bool(reference)
