"""Random generators derived from one root seed by purpose, so that no two draws share a stream by accident."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def generator(device: torch.device | str, seed: int, purpose: str, *place: int) -> torch.Generator:
    """A generator for `purpose` at `place` (step and rank, or time and member): equal arguments, equal draws.

    numpy's SeedSequence mixes the numbers, so that neighbouring places are independent.
    """
    entropy = [seed, zlib.crc32(purpose.encode()), *(int(p) % 2**63 for p in place)]
    state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=device).manual_seed(state)
