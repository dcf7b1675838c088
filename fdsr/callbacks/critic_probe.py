"""Which of a GAN's two networks is behind: what a discriminator trained alone for a while would still gain."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import closing
from itertools import count, islice
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.codec import Batch
from fdsr.modules.ddgan import DDGANModule
from fdsr.modules.seeding import generator

# epochs that no training reaches: their order is not that of the batches to come
_EPOCH = 10**9


class CriticProbe(Callback):
    """Trains a copy of the discriminator for `steps` batches against the generator as it stands, and logs what that gains.

    `probe/d_loss` is the discriminator's loss as it is, `probe/d_loss_after` that of the copy, both over the same pairs, which the
    copy has not been trained on where an epoch has as many batches as both take; `probe/gain` is the first less the second. Much gained:
    the discriminator is behind, and what it tells the generator is not what it could; a higher rate or a larger one helps. Nothing
    gained: it keeps up.

    The copy goes on from the state of the discriminator's optimiser, with R1 in its turn, on training batches of an order of their
    own. Training is not touched: weights, optimisers, random generators and data go on as if nothing had happened. The
    first process probes, in float32. A probe costs `steps` updates of the discriminator.

    Args:
        every_n_steps: training steps between probes.
        steps: updates of the copy.
        batches: how many batches of training's size the losses are averaged over.

    Raises FdsrError for a method without a discriminator.
    """

    def __init__(self, every_n_steps: int = 5000, steps: int = 100, batches: int = 16) -> None:
        require_at_least(1, "CriticProbe: ", every_n_steps=every_n_steps, steps=steps, batches=batches)
        self.every_n_steps, self.steps, self.batches = every_n_steps, steps, batches
        self._last = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, DDGANModule):
            raise FdsrError("CriticProbe: this method has no discriminator; take it out of trainer.callbacks")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step % self.every_n_steps or step in (0, self._last):
            return
        self._last = step
        values = self.probe(trainer, cast(DDGANModule, pl_module)) if trainer.is_global_zero else {}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)

    def probe(self, trainer: L.Trainer, module: DDGANModule) -> dict[str, float]:
        """The two losses and their difference. `module` is as before when this returns, or raises."""
        critic, training = module.discriminator, [(part, part.training) for part in module.modules()]
        pupil = copy.deepcopy(critic)
        optimizer = _copy_of_optimizer(trainer, critic, pupil)
        # compiled networks run as they are: a copy is not worth the compiler's time
        eager = torch.compiler.set_stance("force_eager")
        with isolate_rng(), eager, closing(_other_batches(trainer, module)) as batches:
            held = list(islice(batches, self.batches))
            try:
                module.eval()
                before = _loss(module, held)
                module.discriminator = pupil
                for step, batch in enumerate(islice(batches, self.steps)):
                    rng = generator(module.device, module.seed, "probe", self._last, step)
                    due = module.r1_gamma > 0 and step % module.r1_every == 0
                    loss, penalty, _ = module.discriminator_loss(module.targets(batch), rng, due)
                    optimizer.zero_grad()
                    (loss + penalty).backward()
                    if module.gradient_clip is not None:
                        nn.utils.clip_grad_norm_(pupil.parameters(), module.gradient_clip)
                    optimizer.step()
                after = _loss(module, held)
            finally:
                module.discriminator = critic
                for part, mode in training:
                    part.training = mode
        return {"probe/d_loss": before, "probe/d_loss_after": after, "probe/gain": before - after}


def _copy_of_optimizer(trainer: L.Trainer, critic: nn.Module, pupil: nn.Module) -> torch.optim.Optimizer:
    """The discriminator's optimiser, its moments and present rate included, over the copy's weights."""
    first = next(critic.parameters())
    original = next(o for o in trainer.optimizers if o.param_groups[0]["params"][0] is first)
    optimizer = type(original)(pupil.parameters(), **original.defaults)
    optimizer.load_state_dict(copy.deepcopy(original.state_dict()))
    return optimizer


def _other_batches(trainer: L.Trainer, module: L.LightningModule) -> Generator[Batch]:
    """Training batches, on the module's device, without end and in orders that training does not see."""
    for epoch in count(_EPOCH):
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        if hasattr(loader.sampler, "skip"):  # what this epoch of training has used is another order's
            loader.sampler.skip = 0
        for batch in loader:
            yield trainer.strategy.batch_to_device(batch, module.device)


@torch.no_grad()
def _loss(module: DDGANModule, batches: list[Batch]) -> float:
    """The discriminator's mean loss, with the same times and noise at every call."""
    losses = [
        module.discriminator_loss(module.targets(batch), generator(module.device, module.seed, "probed", i), False)[0]
        for i, batch in enumerate(batches)
    ]
    return float(torch.stack(losses).mean())
