"""The trained regression whose residual a second stage learns (Mardani et al. 2023): its weights and its own statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fdsr import __version__
from fdsr.backbones import Tiler, build_backbone
from fdsr.data.making.local_scale import LocalSums
from fdsr.data.making.statistics import Moments, Sums, cosine_power
from fdsr.diffusion import Likelihood, SquaredError
from fdsr.errors import FdsrError
from fdsr.modules.settings import build, plain


@dataclass
class ErrorSums:
    """What the statistics of a forecast's error need, summed over time steps in float64; `+` merges two stretches of time."""

    seen: Sums  # (C,) share of each step's points with a truth
    count: Sums  # (C,) points with a truth
    total: Sums  # (C,)
    square: Sums  # (C,)
    local_square: Sums  # (C, H, W)
    local_count: Sums  # (C, H, W)
    power: Sums  # (C, K_y, K_x) mean square orthonormal cosine coefficient

    @classmethod
    def none(cls, channels: int, shape: tuple[int, int], tile: tuple[int, int]) -> ErrorSums:
        """Sums over no steps."""
        each, place = np.zeros(channels), np.zeros((channels, *shape))
        return cls(each, each.copy(), each.copy(), each.copy(), place, place.copy(), np.zeros((channels, *tile)))

    @classmethod
    def of(cls, error: np.ndarray, tile: tuple[int, int]) -> ErrorSums:
        """Sums of one error field (C, H, W), NaN where nothing is counted; its power is that of the tiles that cut it."""
        moments, local, seen = Moments.of(error), LocalSums.of(error), (~np.isnan(error)).mean((1, 2))
        with np.errstate(invalid="ignore"):  # NaN of a field where nothing is counted, as where it rains nowhere
            power = np.nan_to_num(cosine_power(error, tile)) * seen[:, None, None]
        return cls(seen, moments.count, moments.total, moments.square, local.square, local.count, power)

    @property
    def normalised_power(self) -> Tensor:
        """Power (C, K_y, K_x) of the error over its root mean square."""
        return torch.from_numpy(np.array(self.power / self.seen[:, None, None] / (self.std**2)[:, None, None]))

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def std(self) -> Sums:
        """Root mean square, as that of the residual over interpolation in a pair store: no mean is taken off."""
        return np.asarray(np.sqrt(self.square / self.count))

    def local_scale(self, periodic: bool) -> Sums:
        """Local root mean square (C, H, W), in units of `std`."""
        return LocalSums(self.local_square, self.local_count).scale(periodic) / self.std[:, None, None]


@dataclass(frozen=True)
class FirstStage:
    """A frozen regression as plain values, and the train-block statistics of its residual in standardised units.

    It is saved in every checkpoint of a second stage beside the FieldSpec, and like that is no part of the state dict:
    averaging, optimisers and gradients never see it.
    """

    backbone: str
    backbone_args: dict[str, Any]
    target: str  # of the regression itself: `residual` over interpolation or `full`
    state: dict[str, Tensor]  # weights of its network
    mean: Tensor  # (C,) of the residual; for the record, it is not taken off
    std: Tensor  # (C,) its root mean square
    power: Tensor  # (C, K_y, K_x) mean square orthonormal cosine coefficient of the residual divided by all that x_0 is
    # how its output is read, as in a configuration
    likelihood: dict[str, Any] = field(default_factory=lambda: plain(SquaredError(), "likelihood"))
    # (C, H, W) local root mean square of the residual in units of `std`; empty where it is not divided by it
    local_scale: Tensor = field(default_factory=lambda: torch.zeros(0))

    def with_statistics(self, sums: ErrorSums) -> FirstStage:
        """The same regression with the statistics of its residual."""
        mean, std = (torch.from_numpy(np.array(v)) for v in (sums.total / sums.count, sums.std))
        return replace(self, mean=mean, std=std, power=sums.normalised_power)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell one set of weights from another."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state.items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and tensors only: loads with `weights_only=True`."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "state"}
        return values | {f"state.{name}": value.detach().cpu().clone() for name, value in self.state.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FirstStage:
        """What `to_dict` gave. Raises FdsrError for what a newer version of fdsr wrote."""
        names = [f.name for f in fields(cls) if f.name in values]
        if unknown := sorted(name for name in values if name not in names and not name.startswith("state.")):
            raise FdsrError(
                f"the first stage was saved by a newer version of fdsr: it has {', '.join(unknown)}, which this one ({__version__}) "
                "does not know; install that"
            )
        state = {k[6:]: v for k, v in values.items() if k.startswith("state.")}
        return cls(state=state, **{name: values[name] for name in names})


@dataclass(frozen=True)
class _Trained:
    likelihood: Likelihood


class FrozenRegression(nn.Module):
    """The network of a FirstStage, always in evaluation mode and without gradients.

    It follows its owner to other devices and is otherwise kept out of the module tree: no parameters, no state.
    """

    def __init__(self, stage: FirstStage, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.likelihood = build(_Trained, {"likelihood": stage.likelihood}, "the first stage").likelihood
        with torch.random.fork_rng(devices=[]):
            network = build_backbone(
                stage.backbone,
                in_channels=in_channels,
                out_channels=out_channels * self.likelihood.outputs,
                **stage.backbone_args,
            )
        network.load_state_dict(stage.state)
        self._hidden = (network.eval().requires_grad_(False),)

    def forward(self, condition: Tensor, wrap: bool, tiler: Tiler) -> tuple[Tensor, Tensor | None]:
        """(mean, deviation) of the regression's x_0, each (B, C, H, W) in float32; None where it predicts no deviation."""
        with torch.no_grad():
            output = tiler(self._hidden[0], condition, None, wrap=wrap).float()
            return self.likelihood.mean(output), self.likelihood.deviation(output)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FrozenRegression:
        self._hidden[0]._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self
