"""What there is to know of a score: enough for a table, a page, a dataset and a logger to show it, and none of how it is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from fdsr.errors import FdsrError

AS_VARIABLE = "as the variable"

Badness = Callable[[float], float]  # of a value: the least is best

_BADNESS: dict[str, Badness | None] = {
    "lower": lambda value: value,
    "higher": lambda value: -value,
    "nearest 0": abs,
    "nearest 1": lambda value: abs(value - 1.0),
    "none": None,
}


@dataclass(frozen=True)
class Score:
    """One number of a variable, as a metric declares it.

    name: in tables and in logs, `fdsr/{name}/{variable}`.
    long_name: the same in words.
    heading: of a column, without the unit; by default the name.
    unit: `as the variable`, `1` of a pure number, or its own, such as `dB`.
    direction: which of two values is the better one.
    summary: of several variables: the mean of their values, of their ratios to the reference method's, or nothing.
    ensemble: whether it takes two members to say anything.
    stand_in: the score that stands in its place for a single member.
    headline: whether the printed comparison has it and, where lower is better, figures draw it against what it costs.
    """

    name: str
    long_name: str
    heading: str = ""
    unit: str = AS_VARIABLE
    direction: Literal["lower", "higher", "nearest 0", "nearest 1", "none"] = "lower"
    summary: Literal["mean", "ratio", "none"] = "none"
    ensemble: bool = False
    stand_in: str = ""
    headline: bool = False

    @property
    def title(self) -> str:
        """The heading."""
        return self.heading or self.name.replace("_", " ")

    @property
    def column(self) -> str:
        """The heading and a unit of its own."""
        return self.title if self.unit in (AS_VARIABLE, "1", "") else f"{self.title} ({self.unit})"

    @property
    def what(self) -> str:
        """The long name, and what is best where that is not clear."""
        best = f"; best {self.direction.replace(' ', ' to ')}" if " " in self.direction else ""
        return self.long_name + best

    @property
    def badness(self) -> Badness | None:
        """None where no value is better than another."""
        return _BADNESS[self.direction]

    def shown(self, members: int) -> str | None:
        """The score that tells of `members` what this one does: itself; of a single one its stand-in, or none."""
        return self.name if members > 1 or not self.ensemble else self.stand_in or None

    def attributes(self) -> dict[str, str | int]:
        """What a dataset keeps of it beside its values; `from_attributes` reads them."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "unit")}
        return {"units": self.unit} | {k: int(v) if isinstance(v, bool) else v for k, v in given.items() if v}

    @classmethod
    def from_attributes(cls, name: str, attributes: Mapping[str, Any]) -> Score | None:
        """None for a dataset's variable that is no score."""
        if "direction" not in attributes:
            return None
        given = {f.name: attributes[f.name] for f in fields(cls) if f.name in attributes}
        flags = {flag: bool(given.get(flag, False)) for flag in ("ensemble", "headline")}
        return cls(**{"name": name, "unit": attributes["units"]} | given | flags)


# distances between sets of images: they depend on how many are compared, so that a number of images belongs to every value
FID = Score("fid", "Fréchet distance of InceptionV3's features", "FID", "1")
KID = Score("kid", "kernel distance of InceptionV3's features", "KID", "1")
CLASSIFIER_FRECHET = Score(
    "classifier_frechet",
    "Fréchet distance of a small classifier's features, which is not FID",
    "classifier_frechet",
    "1",
)
IMAGE_SCORES = {score.name: score for score in (FID, KID, CLASSIFIER_FRECHET)}


def known_name(label: str, known: Iterable[str]) -> str | None:
    """The score of `known` that a table calls `label`: by its name, or at a threshold and a scale (`fss_1_50km`)."""
    return next((name for name in (label, re.split(r"_(?=[\d.])", label, maxsplit=1)[0]) if name in known), None)


def find_score(label: str, known: Mapping[str, Score]) -> Score | None:
    """The score that a table calls `label`, with threshold and scale in its heading; None of an unknown one."""
    name = known_name(label, known)
    if name is None or name == label:
        return known.get(label)
    place = label.removeprefix(f"{name}_").replace("_", ", ")
    return replace(known[name], name=label, heading=f"{known[name].title} {place}")


def read_thresholds(value: object) -> tuple[float, ...]:
    """Thresholds as an attribute may hold them: a number, several, or text such as "0.1, 1" or "[0.1 1]". Raises FdsrError."""
    try:
        parts = re.findall(r"[^\s,;()\[\]]+", value) if isinstance(value, str) else np.atleast_1d(np.asarray(value))
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise FdsrError(f"thresholds {value!r} are not numbers; write them like '0.1, 1'") from error
