"""What a terminal does not show while Lightning works, so that progress, results and real warnings stand out."""

from __future__ import annotations

import logging
import warnings

# Beginnings of remarks of Lightning's and torch's on what is deliberate here, or no affair of a user's.
_ADVICE = (
    # loaders keep caches and threads of their own, and give the order of an interrupted epoch again; a set of images may have no
    # validation block
    "The '.*_dataloader' does not have many workers",
    "Consider setting `persistent_workers=True`",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "Total length of `.*` across ranks is zero",
    # baselines have nothing to validate or to optimise
    "You passed in a `val_dataloader` but have no `validation_step`",
    "`LightningModule.configure_optimizers` returned `None`",
    # networks that serve as measures or as a first stage are not trained
    "Found .* module\\(s\\) in eval mode at the start of training",
    # the state after the step is the one to go on from
    "Using ModelCheckpoint with manual optimization and every_n_train_steps",
    # a run's folder may be given again
    "The dirpath has changed from",
    "Checkpoint directory .* exists and is not empty",
    "The number of training batches .* is smaller than the logging interval",
    "Trainer already configured with model summary callbacks",
    # of Lightning's code on torch's
    "`?isinstance\\(treespec, LeafSpec\\)",
)
# who says what hardware there is, which seed was set and which services could be bought
_TALKATIVE = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.fabric.utilities.distributed",
)


def silence_advice() -> None:
    """Keep Lightning's advice off the terminal; every other warning is shown."""
    for beginning in _ADVICE:
        warnings.filterwarnings("ignore", f"\\s*{beginning}")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
