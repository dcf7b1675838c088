"""The solver against exact solutions, invariants and its order of accuracy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.turbulence import FLOWS, Damping, SpectralPlane, Turbulence, find_flow

FLOW_NAMES = sorted(FLOWS)


def plane(n: int = 32) -> SpectralPlane:
    return SpectralPlane(n, torch.float64)


NO_DAMPING = Damping(0.0, 1, 0.0)


def free(name: str, n: int = 32, damping: Damping = NO_DAMPING) -> Turbulence:
    """A flow without force."""
    return Turbulence(FLOWS[name], plane(n), damping, rate=0.0)


def places(n: int) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return angle[:, None], angle[None, :]


def eddies(turbulence: Turbulence, seed: int = 0, members: int = 1) -> Tensor:
    return turbulence.initial(members, torch.Generator().manual_seed(seed))


def energy(turbulence: Turbulence, q: Tensor) -> Tensor:
    """−½⟨q ψ⟩."""
    return -turbulence.plane.mean_product(q, turbulence.streamfunction(q)) / 2


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_velocity_and_tendency_of_two_waves(name: str) -> None:
    """ψ = cos x + cos 2y by hand: q = −(cos x + 2^α cos 2y), dq/dt = −J(ψ, q) = (2^{α+1} − 2) sin x sin 2y."""
    turbulence, (y, x) = free(name, 16), places(16)
    alpha = FLOWS[name].alpha
    q = turbulence.plane.analyse(-(torch.cos(x) + 2**alpha * torch.cos(2 * y)))[None]
    scalar, u, v, psi = turbulence.fields(q)[0]
    zero = torch.zeros(16, 16, dtype=torch.float64)
    for got, expected in (
        (scalar, -(torch.cos(x) + 2**alpha * torch.cos(2 * y))),
        (u, 2 * torch.sin(2 * y) + zero),
        (v, -torch.sin(x) + zero),
        (psi, torch.cos(x) + torch.cos(2 * y)),
        (
            turbulence.plane.synthesise(turbulence.tendency(q))[0],
            (2 ** (alpha + 1) - 2) * torch.sin(x) * torch.sin(2 * y),
        ),
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert turbulence.speed(q) == pytest.approx(3.0)


def test_taylor_green_vortices_decay_as_navier_stokes_says() -> None:
    """ω = 2 cos x cos y e^{−2νt} solves the Navier–Stokes equation (Taylor & Green 1937)."""
    nu, (y, x) = 0.05, places(16)
    space = plane(16)
    viscosity = nu * space.largest**2 / FLOWS["euler"].strain_rate(space.largest)
    turbulence = Turbulence(FLOWS["euler"], space, Damping(viscosity, 1, 0.0), rate=0.0)
    start = 2 * torch.cos(x) * torch.cos(y)
    after = space.synthesise(turbulence.advance(space.analyse(start)[None], 3.0))[0]
    torch.testing.assert_close(after, start * math.exp(-2 * nu * 3.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_eddies_of_one_size_stand_still(name: str) -> None:
    """Where q is a multiple of ψ there is no advection, whatever the phases: all waves of |k| = 5."""
    turbulence = free(name)
    q = eddies(turbulence) * (turbulence.plane.k - 5).abs().lt(1e-9)
    assert q.abs().max() > 1e-3
    torch.testing.assert_close(turbulence.advance(q, 2.0), q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FLOW_NAMES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1))
def test_advection_keeps_both_invariants(name: str, seed: int) -> None:
    """⟨q dq/dt⟩ and ⟨ψ dq/dt⟩ vanish exactly without aliasing, also where the spectrum ends abruptly."""
    turbulence = free(name, 16)
    q = turbulence.plane.analyse(
        torch.randn(1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )
    q[:, 0, 0] = 0
    change = turbulence.tendency(q)
    for other in (q, turbulence.streamfunction(q)):
        scale = (turbulence.plane.mean_product(other, other) * turbulence.plane.mean_product(change, change)).sqrt()
        assert abs(float(turbulence.plane.mean_product(other, change) / scale)) < 1e-13


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_invariants_drift_with_the_order_of_the_method(name: str) -> None:
    """RK4 errs by dt⁵ a step in a quadratic invariant, and so by dt⁵ to dt⁴ in all; a halved step shows at least dt⁴."""
    turbulence = free(name, 24)
    start = eddies(turbulence)
    drifts = []
    for steps in (20, 40):
        q = start
        for _ in range(steps):
            q = turbulence.step(q, 0.5 * turbulence.turnover_time / steps)
        variance = turbulence.plane.mean_product(q, q) / turbulence.plane.mean_product(start, start) - 1
        drifts.append((abs(float(variance)), abs(float(energy(turbulence, q) / energy(turbulence, start) - 1))))
    for coarse, fine in zip(*drifts, strict=True):
        assert coarse < 1e-2 and coarse / fine > 12


def test_fourth_order_with_damping() -> None:
    """Against a run of much finer steps, errors fall by 16 when the step is halved, with the integrating factor in."""
    turbulence = free("sqg", 24, Damping(1.0, 2, 0.1))
    start, duration = eddies(turbulence), 0.4 * turbulence.turnover_time

    def after(steps: int) -> Tensor:
        q = start
        for _ in range(steps):
            q = turbulence.step(q, duration / steps)
        return q

    truth = after(320)
    errors = [float((after(steps) - truth).abs().square().sum().sqrt()) for steps in (20, 40)]
    assert 12 < errors[0] / errors[1] < 22


def test_members_do_not_mix() -> None:
    turbulence = free("sqg", 16)
    both = eddies(turbulence, members=2)
    together = turbulence.step(both, 0.01)
    torch.testing.assert_close(together[1:], turbulence.step(both[1:], 0.01), rtol=0, atol=1e-14)


def test_the_force_feeds_its_rate_to_its_ring() -> None:
    turbulence = Turbulence(FLOWS["sqg"], plane(16), wavenumber=3.0, rate=0.7)
    assert turbulence.forcing is not None
    space, dt = turbulence.plane, 0.25
    kick = turbulence.forcing.increment(4000, dt, torch.Generator().manual_seed(0))
    fed = space.mean_product(kick, kick) / 2 / dt
    error = float(fed.std()) / math.sqrt(4000)
    assert abs(float(fed.mean()) - 0.7) < 4 * error < 0.02
    outside = (space.k < 2 - 1e-5) | (space.k > 4 + 1e-5)
    assert not kick[:, outside].any()
    # coefficients of real fields, of which none is larger by design
    torch.testing.assert_close(space.analyse(space.synthesise(kick)), kick, rtol=0, atol=1e-12)
    share = kick.abs().square().mean(0)[~outside & (space.k > 0)]
    assert float(share.max() / share.min()) < 1.25


def test_a_forced_flow_comes_to_rest_with_its_damping() -> None:
    """ε = ⟨D q²⟩ in the mean of a stationary flow: what the force feeds, damping takes."""
    turbulence = Turbulence(FLOWS["sqg"], plane(16), Damping(2.0, 2, 0.5), wavenumber=3.0)
    generator = torch.Generator().manual_seed(1)
    q = turbulence.advance(turbulence.initial(8, generator), 3 * turbulence.turnover_time, generator)
    taken = []
    for _ in range(12):
        q = turbulence.advance(q, 0.5 * turbulence.turnover_time, generator)
        taken.append(turbulence.plane.mean_product(turbulence.damping * q, q).mean())
    # each of 8 runs gives about 6 independent values that scatter by about a half
    assert float(torch.stack(taken).mean()) == pytest.approx(1.0, abs=0.25)


def test_the_step_follows_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    turbulence, taken = free("sqg", 16), []
    real = Turbulence.step

    def noted(self: Turbulence, q: Tensor, dt: float, generator: torch.Generator | None = None) -> Tensor:
        taken.append((dt, dt * self.plane.largest * self.speed(q)))
        return real(self, q, dt, generator)

    monkeypatch.setattr(Turbulence, "step", noted)
    for stronger in (0.01, 1.0, 30.0):
        taken.clear()
        turbulence.advance(stronger * eddies(turbulence), 1.0)
        assert sum(dt for dt, _ in taken) == pytest.approx(1.0)
        assert max(courant for _, courant in taken) <= Turbulence.COURANT * (1 + 1e-9)
        assert max(dt for dt, _ in taken) <= turbulence.turnover_time / 20 * (1 + 1e-9)
        if stronger > 1:  # neither shorter than need be
            assert max(courant for _, courant in taken[:-2]) > 0.95 * Turbulence.COURANT


def test_a_flow_that_is_not_finite_is_an_error() -> None:
    turbulence = free("sqg", 16)
    with pytest.raises(FdsrError, match="not finite"):
        turbulence.advance(eddies(turbulence) * math.nan, 1.0)


def test_what_is_known_of_each_flow() -> None:
    assert find_flow("sqg").spectral_slope == pytest.approx(-5 / 3)
    assert find_flow("euler").spectral_slope == pytest.approx(-1.0)  # of the enstrophy; −3 of the energy
    with pytest.raises(FdsrError, match="choose one of"):
        find_flow("beta")
    with pytest.raises(FdsrError, match="acts on none"):
        Turbulence(FLOWS["sqg"], plane(16), wavenumber=7.5)
