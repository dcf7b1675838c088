"""One thread (the machines are shared), a fixed seed, and a power spectrum to colour noise with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def one_thread_fixed_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def steep_power() -> Callable[..., Tensor]:
    """A smooth red spectrum (C, Ky, Kx) on the stored grid, falling as k^−3 beyond 0.05 cycles per point."""

    def make(channels: int = 1, ky: int = 16, kx: int = 16) -> Tensor:
        k = torch.hypot(torch.arange(ky)[:, None] / (2.0 * ky), torch.arange(kx)[None, :] / (2.0 * kx)).double()
        steepness = torch.linspace(3.0, 2.0, channels)[:, None, None]
        return (k**2 + 0.05**2) ** (-steepness / 2)

    return make
