"""Functions in several processes that talk to each other (gloo).

A server forks them which has imported, once a session, what takes every new interpreter seconds. As in processes that Lightning
starts, the environment says which is which.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing

multiprocessing.set_forkserver_preload(
    ["fdsr.training.run", "fdsr.metrics", "dask.array", "einops", "scipy.linalg", "pytest", "hypothesis"]
)


def side_by_side(function: Callable[..., None], *arguments: Any, world: int = 2, seconds: float = 500) -> None:
    """Call function(*arguments), of a module's first level, in `world` processes. All must end well, and in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ) | {
        "WORLD_SIZE": str(world), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    started = torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
        _enter, (function, arguments, environment), nprocs=world, join=False, start_method="forkserver"
    )
    end = time.monotonic() + seconds
    while not started.join(timeout=5):
        if time.monotonic() > end:
            for process in started.processes:
                process.kill()
            raise AssertionError(f"{function.__name__} hangs in {world} processes")


def _enter(rank: int, function: Callable[..., None], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    os.environ.update(environment | {"LOCAL_RANK": str(rank), "RANK": str(rank)})
    rank_zero_only.rank = rank
    torch.set_num_threads(1)
    function(*arguments)
