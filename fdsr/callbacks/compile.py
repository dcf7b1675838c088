"""Compilation of the network by torch.compile, where it pays."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

log = logging.getLogger(__name__)


class CompileCallback(Callback):
    """Compiles networks of the module in place when it begins to train, test or predict; names in checkpoints stay as they are.

    It pays where small operations rule, as on GPUs; on processors, where convolutions rule, hardly. The first step
    waits for the compiler, once for every shape of batch; how long is logged, so that it can be counted.

    Evaluations in the midst of training, whose batches have other shapes, run as they are (see `evaluation_mode`).

    mode: None for no compilation; `default`; `reduce-overhead` (CUDA graphs, for small networks, whose launches cost more than their
        work); `max-autotune`. See the page of torch.compile.
    attributes: the networks, of which those that the module has are compiled.
    """

    def __init__(
        self,
        mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
        attributes: Sequence[str] = ("network", "discriminator"),
    ) -> None:
        self.mode, self.attributes = mode, tuple(attributes)
        self._started: float | None = None

    def _compile(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        networks = [network for name in self.attributes if (network := getattr(pl_module, name, None)) is not None]
        if self.mode is not None and networks:
            for network in networks:
                network.compile(mode=self.mode)
            self._started = time.perf_counter()

    on_fit_start = on_test_start = on_predict_start = _compile

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if self._started is not None:
            log.info("first step, compilation included: %.1f s", time.perf_counter() - self._started)
            self._started = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.mode is not None:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.mode is not None:
            torch.compiler.set_stance("default")
