"""A module in the state in which it is evaluated, in the midst of its training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from fdsr.callbacks.ema import EMACallback


@contextmanager
def evaluation_mode(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """Averaged weights in place, eval mode, float32, no gradients; afterwards everything is as it was.

    Restored are the raw weights, the train or eval mode of every submodule and the state of the global random
    generators, so that training goes on as if nothing had happened. Autocast is off inside: what is measured is the
    float32 network that the checkpoint holds, whatever precision trains it. Compiled networks run as they are.
    """
    modes = [(part, part.training) for part in module.modules()]
    with ExitStack() as stack:
        stack.enter_context(isolate_rng())
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(module.device.type, enabled=False))
        stack.enter_context(averaged_weights(trainer, module))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            module.eval()
            yield
        finally:
            for part, training in modes:
                part.training = training


@contextmanager
def averaged_weights(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """The average of the trainer's EMACallback in place of the raw weights; nothing happens without one.

    The average includes the step just made, wherever the EMACallback stands among the callbacks, and stays in place if
    it was so already, as during validation.
    """
    swapped: list[EMACallback] = []
    for ema in (c for c in trainer.callbacks if isinstance(c, EMACallback)):  # type: ignore[attr-defined]
        if ema.raw is None and trainer.training:
            ema.on_train_batch_end(trainer, module)  # does nothing if it has been called for this step
            ema.on_validation_start(trainer, module)
            swapped.append(ema)
    try:
        yield
    finally:
        for ema in swapped:
            ema.on_validation_end(trainer, module)


def now(device: torch.device) -> float:
    """The clock in seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
