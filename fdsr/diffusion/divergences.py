"""f-divergences of adversarial training: D_f(Q‖P) = ∫ p f(q/p) >= E_Q[g(V)] − E_P[f*(g(V))], Q the data, P the model.

Nowozin et al. 2016 (f-GAN), eqs 4–6; each row's g is composed with f* by hand, since literal f*(g(V)) is inf or NaN
in float32 at |V| = 120. Half precision is computed and returned in float32.

Where e^V occurs (hellinger, reverse_kl, kl) V is first bounded softly: unchanged for |V| <= 20, ±(20 + ln(1 + |V| −
20)) beyond, so that e^V goes on along its tangent and every gradient is finite. Both expectations see the same
bounded V, so the bound holds for every V, and it is exact where the optimal V lies within ±20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

Elementwise = Callable[[Tensor], Tensor]

_LN2 = math.log(2.0)
_BOUND = 20.0


@dataclass(frozen=True)
class Divergence:
    """One row of the table. Every function is elementwise; constants are kept, so that the bound *is* the divergence.

    f(u): the generator of D_f, u >= 0. g(v): the activation of the critic's output. conjugate_g(v): f*(g(v)).
    optimal_v(r): the v at which the bound is tight for the density ratio r = q/p (±inf for total variation).
    saturating: which generator loss is the default.
    """

    name: str
    f: Elementwise
    g: Elementwise
    conjugate_g: Elementwise
    optimal_v: Elementwise
    saturating: bool

    def judges_real(self, v: Tensor) -> Tensor:
        """Whether V holds a pair for a real one, elementwise: V lies where the optimal V is for a ratio r > 1."""
        even, likely = self.optimal_v(torch.tensor([1.0, 2.0])).tolist()
        return (v > even) if likely > even else (v < even)

    def critic_loss(self, v_real: Tensor, v_fake: Tensor) -> Tensor:
        """−(E_Q[g(V)] − E_P[f*(g(V))]), a scalar to be minimised by the critic; minus it is a lower bound of D_f."""
        return self.conjugate_g(v_fake).mean() - self.g(v_real).mean()

    def generator_loss(self, v_fake: Tensor, saturating: bool | None = None) -> Tensor:
        """−E_P[f*(g(V))] (saturating) or −E_P[g(V)] (alternative; Nowozin et al. 2016, §3.2), a scalar.

        None takes the default. The alternative follows another gradient: at the optimal V its weight on ∇ln r is r
        f″(r) instead of r² f″(r).
        """
        activation = self.conjugate_g if (self.saturating if saturating is None else saturating) else self.g
        return -activation(v_fake).mean()


def _single(v: Tensor) -> Tensor:
    return v if v.dtype == torch.float64 else v.float()


def _bounded(v: Tensor) -> Tensor:
    v = _single(v)
    excess = (v.abs() - _BOUND).clamp(min=0)
    return torch.where(excess == 0, v, torch.sign(v) * (_BOUND + torch.log1p(excess)))


def _above_minus_2(v: Tensor) -> Tensor:
    return softplus(_single(v) + 2) - 2


def _ratio(log_ratio: Elementwise) -> Elementwise:
    return lambda r: log_ratio(_single(r))


def _side(r: Tensor) -> Tensor:
    return torch.where(r == 1, torch.zeros_like(r), torch.copysign(torch.full_like(r, math.inf), r - 1))


DIVERGENCES: dict[str, Divergence] = {
    row.name: row
    for row in (
        # Goodfellow et al. 2014; its value is 2 JSD − 2 ln 2
        Divergence(
            "gan",
            f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, u + 1),
            g=lambda v: -softplus(-_single(v)),
            conjugate_g=lambda v: softplus(_single(v)),
            optimal_v=_ratio(torch.log),
            saturating=False,
        ),
        # squared Hellinger distance; a real pair gets a low V
        Divergence(
            "hellinger",
            f=lambda u: (u.sqrt() - 1).square(),
            g=lambda v: -torch.expm1(_bounded(v)),
            conjugate_g=lambda v: torch.expm1(-_bounded(v)),
            optimal_v=_ratio(lambda r: -0.5 * r.log()),
            saturating=True,
        ),
        # KL(P‖Q); a real pair gets a low V
        Divergence(
            "reverse_kl",
            f=lambda u: -u.log(),
            g=lambda v: -torch.exp(_bounded(v)),
            conjugate_g=lambda v: -1 - _bounded(v),
            optimal_v=_ratio(lambda r: -r.log()),
            saturating=True,
        ),
        # the two generator losses coincide; the gradient vanishes for large |V|
        Divergence(
            "total_variation",
            f=lambda u: 0.5 * (u - 1).abs(),
            g=lambda v: 0.5 * torch.tanh(_single(v)),
            conjugate_g=lambda v: 0.5 * torch.tanh(_single(v)),
            optimal_v=_ratio(_side),
            saturating=True,
        ),
        # KL(Q‖P)
        Divergence(
            "kl",
            f=lambda u: torch.xlogy(u, u),
            g=_bounded,
            conjugate_g=lambda v: torch.exp(_bounded(v) - 1),
            optimal_v=_ratio(lambda r: 1 + r.log()),
            saturating=True,
        ),
        # f lives on u >= 0, where f*(t) = t²/4 + t holds for t >= −2 alone and is −1 below: g stays above −2. With g(V) = V, as
        # Nowozin et al. have it, f*(g(V)) rises again below −2, and pushes away what is clearly generated
        Divergence(
            "pearson_chi2",
            f=lambda u: (u - 1).square(),
            g=_above_minus_2,
            conjugate_g=lambda v: _above_minus_2(v).square() / 4 + _above_minus_2(v),
            optimal_v=_ratio(lambda r: 2 * r + torch.log(-torch.expm1(-2 * r)) - 2),
            saturating=False,
        ),
        # gan, shifted to be 2 JSD itself
        Divergence(
            "jensen_shannon",
            f=lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1, (u + 1) / 2),
            g=lambda v: _LN2 - softplus(-_single(v)),
            conjugate_g=lambda v: softplus(_single(v)) - _LN2,
            optimal_v=_ratio(torch.log),
            saturating=False,
        ),
    )
}
