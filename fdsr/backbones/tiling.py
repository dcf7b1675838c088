"""Networks on fields too large for one evaluation: overlapping tiles, and their outputs blended into one field.

Every method evaluates its network on one whole x_t, drawn and coloured for the whole field, and x̂_0 is at each point an affine
function of the network's output there, with coefficients that depend on t alone (what a spectral preconditioning adds is
computed for the whole field). Weights w_i ≥ 0 with Σ_i w_i = 1 therefore blend x̂_0 where they blend outputs, in every reverse
step: tiles share their noise, no seam can grow from step to step, and no variance is lost as it is where members drawn apart
are averaged over an overlap.

A tile answers for its core, half of the ramps on its sides included, and is given a margin beyond. Where the margin is the
network's receptive field no point that counts sees the cut, and the blended output is that of the whole field, to rounding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fdsr.backbones.cuts import Axis, cheapest, cut
from fdsr.backbones.extent import bytes_per_point, depends_on_extent, receptive_field, stride_of
from fdsr.backbones.padding import crop, pad_to_multiple
from fdsr.errors import FdsrError

# what one evaluation of a network may take, in bytes: of fields that take more `auto` makes tiles
BUDGET = 2**30
# what several fields or tiles evaluated together may take on a CPU: allocators give larger tensors back at once, and to have
# their pages anew costs a quarter of the time
TOGETHER = 2**27
# fields of no more points are never cut by `auto`, and not even weighed
SMALL = 128 * 128
# margin in points where no margin makes tiles exact: see the page on tiles
MARGIN = 32


@dataclass(frozen=True)
class Crew:
    """Processes that evaluate the same fields: each takes tiles in turn, and all get the whole."""

    place: int  # of this process
    size: int
    group: Any  # of torch.distributed


@dataclass(frozen=True)
class Plan:
    """Tiles of a padded field, and how many of them are evaluated at once."""

    rows: Axis
    columns: Axis
    wrap: bool
    at_once: int

    @property
    def whole(self) -> bool:
        """Whether nothing is cut."""
        return self.rows.whole and self.columns.whole

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Position of each tile among the cuts of rows and of columns."""
        return product(range(len(self.rows.starts)), range(len(self.columns.starts)))

    def in_turn(self, network: nn.Module, x: Tensor, t: Any, latent: dict[str, Any]) -> Tensor:
        """The network's output on whole fields x (N, C, H, W), as many at once as there is room for."""
        if len(x) <= self.at_once:
            return network(x, t, wrap=self.wrap, **latent)
        return torch.cat(
            [
                network(
                    x[part], _of(t, part), wrap=self.wrap, **{name: _of(value, part) for name, value in latent.items()}
                )
                for part in torch.arange(len(x), device=x.device).split(self.at_once)
            ]
        )

    def __call__(
        self, network: nn.Module, x: Tensor, t: Any, latent: dict[str, Any], crew: Crew | None = None
    ) -> Tensor:
        """The network's output on x (N, C, H, W), padded already, in float32; of a `crew` each process calls this with the same x."""
        every = list(product(self.tiles(), range(len(x))))
        own = every if crew is None else every[crew.place :: crew.size]
        places = own or every[:1]  # who has no tile must know what one is like
        out: Tensor | None = None
        wrap = self.wrap and self.columns.whole
        rows, columns = (axis.weights.to(x.device) for axis in (self.rows, self.columns))
        for first in range(0, len(places), self.at_once):
            chunk = places[first : first + self.at_once]
            given = torch.stack([self._part(x[n], tile) for tile, n in chunk])
            samples = torch.tensor([n for _, n in chunk], device=x.device)
            known = {name: _of(value, samples) for name, value in latent.items()}
            output = network(given, _of(t, samples), wrap=wrap, **known).float()
            if out is None:
                out = output.new_zeros(len(x), output.shape[1], *x.shape[-2:])
            for ((i, j), n), tile in zip(chunk, output, strict=True):
                weighted = tile * rows[i][:, None] * columns[j]
                place = (self.columns.starts[j] + torch.arange(self.columns.size, device=x.device)) % x.shape[-1]
                out[n].narrow(-2, self.rows.starts[i], self.rows.size).index_add_(-1, place, weighted)
        assert out is not None
        if crew is not None:
            out *= bool(own)
            torch.distributed.all_reduce(out, group=crew.group)
        return out

    def _part(self, x: Tensor, tile: tuple[int, int]) -> Tensor:
        """One tile of a sample (C, H, W)."""
        x = x.narrow(-2, self.rows.starts[tile[0]], self.rows.size)
        start, beyond = self.columns.starts[tile[1]], self.columns.starts[tile[1]] + self.columns.size - x.shape[-1]
        part = x[..., start : start + self.columns.size]
        return part if beyond <= 0 else torch.cat([part, x[..., :beyond]], dim=-1)


def _of(value: Any, samples: Tensor) -> Any:
    """What belongs to some samples; numbers and nothing belong to all."""
    return value[samples] if isinstance(value, Tensor) and value.ndim and len(value) > 1 else value


class Tiler:
    """Evaluates networks whole or in tiles, as `setting` says.

    `off`: always whole. `ROWSxCOLUMNS`, as in 128x256: tiles with a core of about so many points; `ROWSxCOLUMNS+MARGIN`: with so
    many further points on each side instead of the receptive field. `auto`: whole where an evaluation of one field takes no more
    than BUDGET bytes, else the tiles within it that cost least. What is cut depends on network and field alone, never on the
    machine; how many fields or tiles are evaluated together does. Networks in training are always given all they are called with.

    Args:
        setting: as above.
        tell: is told in one line what was chosen, once for each network and size that is cut.

    Raises FdsrError for a setting that is not understood.
    """

    def __init__(self, setting: str = "auto", tell: Callable[[str], None] = lambda line: None) -> None:
        self.tell, self.setting = tell, setting
        self.crew: Crew | None = None  # may be set at any time, by all of them
        self._core, self._margin = _parse(setting)
        self._plans: WeakKeyDictionary[nn.Module, dict[tuple[int, int, bool], Plan]] = WeakKeyDictionary()

    def __call__(self, network: nn.Module, x: Tensor, t: Any = None, *, wrap: bool = False, **latent: Any) -> Tensor:
        """What network(x (N, C, H, W), t, wrap=wrap, **latent) returns, in float32 where it is cut."""
        height, width = x.shape[-2:]
        small = height * width <= SMALL and self._core is None
        if network.training or self.setting == "off" or small:
            return network(x, t, wrap=wrap, **latent)
        plans = self._plans.setdefault(network, {})
        if (height, width, wrap) not in plans:
            plans[height, width, wrap] = self._choose(network, x, t, wrap, latent)
        plan = plans[height, width, wrap]
        if plan.whole:
            return plan.in_turn(network, x, t, latent)
        padded, left = pad_to_multiple(x, stride_of(network), wrap=wrap)
        return crop(plan(network, padded, t, latent, self.crew), height, width, left)

    def _choose(self, network: nn.Module, x: Tensor, t: Any, wrap: bool, latent: dict[str, Any]) -> Plan:
        one = torch.zeros(1, dtype=torch.long, device=x.device)
        example, named = (x[:1], _of(t, one)), {name: _of(value, one) for name, value in latent.items()}
        each = bytes_per_point(network, *example, **named)
        points, room = int(BUDGET / each), int(_room(x.device) / each)
        padded = pad_to_multiple(x[:1, :1], stride_of(network), wrap=wrap)[0]
        shape = (padded.shape[-2], padded.shape[-1])
        if self._core is None and shape[0] * shape[1] <= points:
            rows, columns = (Axis((0,), n, torch.ones(1, n)) for n in shape)
            return Plan(rows, columns, wrap, max(1, room // (shape[0] * shape[1])))
        field, stride = receptive_field(network, *example, **named), stride_of(network)
        exact = field is not None and not depends_on_extent(network)
        margins = field if field is not None and exact else (MARGIN, MARGIN)
        if self._margin is not None:
            margins = (self._margin, self._margin)
        if self._core is not None:
            rows = cut(shape[0], self._core[0], margins[0], stride, False)
            columns = cut(shape[1], self._core[1], margins[1], stride, wrap)
        else:
            rows, columns = cheapest(shape, margins, stride, wrap, points)
        plan = Plan(rows, columns, wrap, max(1, room // (rows.size * columns.size)))
        if not plan.whole:
            self.tell(_said(plan, (x.shape[-2], x.shape[-1]), field, margins, depends_on_extent(network)))
        return plan


def departure(
    network: nn.Module, setting: str, x: Tensor, t: Any = None, *, wrap: bool = False, **latent: Any
) -> float:
    """Root mean square difference of the output in tiles from that of the whole, over that of the whole; without gradients."""
    with torch.no_grad():
        whole = network(x, t, wrap=wrap, **latent).float()
        return float((Tiler(setting)(network, x, t, wrap=wrap, **latent) - whole).norm() / whole.norm())


def _room(device: torch.device) -> int:
    """Bytes that one evaluation of several fields or tiles may take: on a GPU half of what is free."""
    if device.type != "cuda":
        return TOGETHER
    return max(BUDGET, torch.cuda.mem_get_info(device)[0] // 2)


def _said(
    plan: Plan, shape: tuple[int, int], field: tuple[int, int] | None, margins: tuple[int, int], statistics: bool
) -> str:
    """What was chosen, and what that means."""
    if field is None:
        promise = "the network sees everything: close to whole, not the same"
    else:
        promise = f"receptive field {max(field)}"
        if statistics:
            promise += " and normalisation over the field: close to whole, not the same"
        else:
            covered = margins[0] >= field[0] and margins[1] >= field[1]
            promise += ": as whole, to rounding" if covered else ", not covered: close to whole, not the same"
    return (
        f"{shape[0]} × {shape[1]} points in {len(plan.rows.starts)} × {len(plan.columns.starts)} tiles of {plan.rows.size} × "
        f"{plan.columns.size}, margins {max(margins)}, {promise}"
    )


def _parse(setting: str) -> tuple[tuple[int, int] | None, int | None]:
    """(core, margin) of a setting, None where it tells none."""
    if setting in ("auto", "off"):
        return None, None
    found = re.fullmatch(r"(\d+)x(\d+)(?:\+(\d+))?", setting)
    if found is None or not (int(found[1]) and int(found[2])):
        raise FdsrError(
            f"tile '{setting}' is not understood; give auto, off, or rows and columns, as in 256x256, or 256x256+32 with a margin"
        )
    return (int(found[1]), int(found[2])), None if found[3] is None else int(found[3])
