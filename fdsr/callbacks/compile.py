"""Compilation of the network by torch.compile, where it pays."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback

log = logging.getLogger(__name__)


class CompileCallback(Callback):
    """Compiles `module.<attribute>` in place when training begins; names in checkpoints stay as they are.

    It pays where small operations rule, as on GPUs; on processors, where convolutions rule, hardly. The first step
    waits for the compiler, once for every shape of batch; how long is logged, so that it can be counted.

    mode: None for no compilation; `default`; `reduce-overhead` (CUDA graphs, for small networks, whose launches cost more than their
        work); `max-autotune`. See the page of torch.compile.
    """

    def __init__(
        self, mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None, attribute: str = "network"
    ) -> None:
        self.mode, self.attribute = mode, attribute
        self._started: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        network = getattr(pl_module, self.attribute, None)
        if self.mode is not None and network is not None:
            network.compile(mode=self.mode)
            self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if self._started is not None:
            log.info("first step, compilation included: %.1f s", time.perf_counter() - self._started)
            self._started = None
