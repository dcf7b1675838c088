"""Two processes train one DDGAN: equal weights, each its own noise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ddp_ddgan.py")


@pytest.mark.slow
def test_ranks_stay_equal_and_draw_their_own_noise(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(SCRIPT), str(tmp_path), "bf16-mixed"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in (0, 1))
    assert first["step"] == second["step"] == 6
    for part in ("state", "average"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part])
    # five draws a step; no two of them alike, in one rank or between the two
    draws = torch.cat([first["noise"], second["noise"]])
    assert len(draws) == 2 * 6 * 5 and len({tuple(d.tolist()) for d in draws}) == len(draws)
    # together the ranks drew images 0…5, none of them twice
    images = torch.cat([first["images"], second["images"]])
    assert len({tuple(i.flatten().tolist()) for i in images}) == 6
