"""What x_0 is, and the statistics that it is scaled by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.errors import FdsrError, choose
from fdsr.modules.first_stage import FirstStage


class Statistics(NamedTuple):
    """Of x_0 over the train block."""

    scale: Tensor  # (C, 1, 1), or (C, H, W) where it is local: what x_0 is counted in, in standardised units
    power: Tensor  # (C, K_y, K_x) of x_0, that is after the division
    missing: str = ""  # what is not known of these data yet, and stands here as 1


@dataclass(frozen=True)
class Target:
    """x_0 is a standardised field, or how far it is from a base; and its statistics, with a local scale or without."""

    over_base: bool
    statistics: Callable[[FieldSpec, FirstStage | None, bool], Statistics]
    two_stages: bool = False


def _of_field(spec: FieldSpec, stage: FirstStage | None, local: bool) -> Statistics:
    return Statistics(torch.ones_like(spec.residual_std)[:, None, None], spec.power_field)


def _of_residual(spec: FieldSpec, stage: FirstStage | None, local: bool) -> Statistics:
    std = spec.residual_std[:, None, None]
    if not local:
        return Statistics(std, spec.power_residual)
    if spec.local_scale is None or spec.power_local is None:
        missing = "the pair store knows no local scale, as an earlier version of fdsr made it; train on a local copy, which adds it"
        return Statistics(std, spec.power_residual, missing)
    return Statistics(std * spec.local_scale, spec.power_local)


def _of_second_stage(spec: FieldSpec, stage: FirstStage | None, local: bool) -> Statistics:
    if stage is None or not stage.std.numel():  # until the regression's residual has been measured
        return Statistics(torch.ones_like(spec.residual_std)[:, None, None], torch.ones_like(spec.power_residual))
    std = stage.std[:, None, None]
    return Statistics(std * stage.local_scale if stage.local_scale.numel() else std, stage.power)


_FIELD = Target(False, _of_field)
TARGETS: dict[str, Target] = {
    "residual": Target(True, _of_residual),
    "full": _FIELD,
    "field": _FIELD,
    "regression": Target(True, _of_second_stage, two_stages=True),
}


@dataclass(frozen=True)
class LocalScale:
    """What a residual is divided by besides its deviation."""

    climatological: bool = False
    predicted: bool = False  # by the first stage


LOCAL_SCALES = {
    "none": LocalScale(),
    "climatological": LocalScale(climatological=True),
    "predicted": LocalScale(predicted=True),
}


def require_scale(local_scale: str, target: str) -> None:
    """Raise FdsrError for names that do not exist, or do not go together."""
    for name, table, value in (("target", TARGETS, target), ("local_scale", LOCAL_SCALES, local_scale)):
        choose(table, value, name)
    if LOCAL_SCALES[local_scale].predicted and not TARGETS[target].two_stages:
        raise FdsrError(
            f"model.local_scale 'predicted' is that of a first stage, and model.target is '{target}'; use target regression"
        )
    if LOCAL_SCALES[local_scale] != LocalScale() and not TARGETS[target].over_base:
        raise FdsrError(
            f"model.local_scale '{local_scale}' is of residuals, and model.target is '{target}'; use target residual or regression"
        )
