"""A model at another place than that of its training: what has to agree, and what is exchanged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.errors import FdsrError, require_alike
from fdsr.grids import Grid
from fdsr.units import SAME, conversion

log = logging.getLogger(__name__)

# how far spacings may be apart, as a share, and still be those of one kind: Gaussian rows and rounded coordinates are
SAME_SPACING = 0.02


@dataclass(frozen=True)
class Place:
    """A fine grid and what stands on it.

    static: fields (H, W) by name, in the model's units; present: (C, H, W) where any value is known of a masked kind.
    """

    grid: Grid
    static: Mapping[str, NDArray]
    present: Tensor | None = None


def require_spacing(home: FieldSpec, grid: Grid, where: str, any_spacing: bool = False) -> None:
    """Raise FdsrError unless the coarse `grid` has axes of the model's sort, spaced as its coarse grid is.

    With `any_spacing` other distances are said in one line, and let pass.
    """
    trained = home.low_grid
    if grid.spherical != trained.spherical:
        raise FdsrError(
            f"'{where}' has {'angles' if grid.spherical else 'distances'} for axes, the model was trained on "
            f"{'angles' if trained.spherical else 'distances'}; regrid the coarse fields"
        )
    grid = grid.in_units(trained.units)
    ratios = [
        have / want if n > 1 else 1.0 for have, want, n in zip(grid.steps, trained.steps, grid.shape, strict=True)
    ]
    if all(abs(ratio - 1) <= SAME_SPACING for ratio in ratios):
        return
    said = (
        f"'{where}' is spaced {_spacing(grid)}, {' and '.join(f'{r:.3g}' for r in dict.fromkeys(ratios))} times as far as the coarse "
        f"fields of the model, which was trained at {_spacing(trained)}"
    )
    if not any_spacing:
        raise FdsrError(f"{said}; regrid the coarse fields, or set data.any_spacing to true")
    log.warning("%s: its fine scales were learnt at others", said)


def _spacing(grid: Grid) -> str:
    unit = "°" if grid.spherical else f" {grid.units}"
    return " × ".join(f"{step:.4g}{unit}" for step in grid.steps)


def fine_grid(home: FieldSpec, low: Grid) -> Grid:
    """The fine grid whose coarse cells are those of `low`: that of the training where it is part of it."""
    if (found := home.low_grid.positions(low)) is not None:
        return home.grid.part(*(_cells(index, f) for index, f in zip(found, home.factor, strict=True)))
    return low.in_units(home.grid.units).fine(home.factor, home.low_grid.steps)


def _cells(blocks: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    """Positions of the fine rows or columns of blocks."""
    return (blocks[:, None] * factor + np.arange(factor)).ravel()


def cut(home: FieldSpec, values: Tensor, grid: Grid) -> Tensor | None:
    """Of values (n, H, W) on the grid of training those on `grid`; None where that is not part of it."""
    found = home.grid.positions(grid)
    return None if found is None else values[:, found[0]][:, :, found[1]]


def require_inside(home: FieldSpec, values: Tensor, grid: Grid, what: str) -> Tensor:
    """`cut`. Raises FdsrError, naming what `values` are, where the grid is not part of that of training."""
    found = cut(home, values, grid)
    if found is None:
        raise FdsrError(
            f"the model divides by {what}, which is known where it was measured alone ({home.grid.extent}) and not on {grid.extent}; "
            "train one that is to travel with --model.local_scale predicted, or none"
        )
    return found


def at(home: FieldSpec, place: Place, where: str) -> FieldSpec:
    """The kind of `home`, the specification of a training, at `place`.

    Static fields that the place lacks, and which points have values, are cut out of the place of training where that holds it.
    So is the local scale, which is left out elsewhere. Raises FdsrError for what is not known of the place.
    """
    inside = home.grid.positions(place.grid) is not None
    static = {n: torch.from_numpy(np.asarray(v, dtype=np.float32)) for n, v in place.static.items()}
    if inside:
        own = cut(home, home.static, place.grid)
        assert own is not None
        static = dict(zip(home.static_channels, own, strict=True)) | static
    if lacking := [n for n in home.static_channels if n not in static]:
        raise FdsrError(
            f"the model needs the static field{'s' if len(lacking) > 1 else ''} {', '.join(lacking)} where '{where}' lies "
            f"({place.grid.extent}); give a store that has them there: --static STORE"
        )
    present = cut(home, home.present, place.grid) if inside and home.present is not None else place.present
    if home.present is not None and present is None:
        raise FdsrError(
            f"the model was trained with missing values, and which fine points have any where '{where}' lies is not known; give a "
            "pair store of that place: --static STORE"
        )
    if home.position and not inside:
        log.warning(
            "'%s': the model was trained with position, elsewhere (%s); what it learnt of places is of no use here "
            "(data.position: false trains one that is to travel)", where, home.grid.extent,
        )  # fmt: skip
    fields = [static[n] for n in home.static_channels]
    local = None if home.local_scale is None else cut(home, home.local_scale, place.grid)
    return replace(
        home,
        grid=place.grid,
        static=torch.stack(fields) if fields else torch.zeros(0, *place.grid.shape),
        present=present if home.present is not None else None,
        local_scale=local,
    )


def of_pairs(home: FieldSpec, other: FieldSpec, where: str, any_spacing: bool = False) -> FieldSpec:
    """The kind of `home` at the place of a pair store with the specification `other`, whose statistics are not used.

    Raises FdsrError where the store is of another kind: variables, units, factor, spacing, missing values.
    """
    require_alike(kind_differences(home, other), f"the store '{where}'", "use a store of the kind it was trained on")
    require_spacing(home, other.low_grid, where, any_spacing)
    if not home.differences(replace(other, time_channels=home.time_channels, position=home.position)):
        return home
    if home.fingerprint != other.fingerprint:  # another region of the same store is what it was split for
        log.warning("'%s' is not what the model was trained on: its fields are standardised as those were", where)
    present = other.present
    if home.present is not None and present is None:
        present = torch.ones(len(home.high_channels), *other.shape, dtype=torch.bool)
    # where a model was trained its own grid is used, whose coordinates are alike but for rounding
    grid = home.grid if home.grid.shape == other.grid.shape and not home.grid.differences(other.grid) else other.grid
    static = dict(zip(other.static_channels, other.static.numpy(), strict=True))
    return at(home, Place(grid, static, present), where)


def kind_differences(home: FieldSpec, other: FieldSpec) -> list[str]:
    """What makes fields of `other` another kind than those of `home`, one short phrase each; spacing apart."""
    different = []
    for name, label in (("high_channels", "variables"), ("low_channels", "coarse variables"), ("factor", "factor")):
        mine, theirs = getattr(home, name), getattr(other, name)
        if mine != theirs:
            different.append(f"{label} {mine} against {theirs}")
    if other.masked and not home.masked:
        different.append("trained without missing values, data with them")
    for name in dict.fromkeys(
        n for n in (*home.high_channels, *home.low_channels, *home.static_channels) if n in other.attributes
    ):
        units = [spec.attributes.get(name, {}).get("units") for spec in (home, other)]
        if all(units) and conversion(str(units[1]), str(units[0])) != SAME:
            different.append(f"units of {name} '{units[0]}' against '{units[1]}'")
    return different
