"""What logged values are called: one table for those who log them and for those who draw them.

The keys are those of a run's own metrics and of Weights & Biases alike. Settings that runs are told apart by are no values but
entries of a W&B run's configuration; their names stand here as well.
"""

from __future__ import annotations

PREFIX = "fdsr"

# of a test of fields: the coarse field, truth and members of its first time; of images: some that were drawn
FIGURE = f"{PREFIX}/figure"
SAMPLES = f"{PREFIX}/samples"
SECONDS_PER_MEMBER = f"{PREFIX}/seconds_per_member"
SECONDS_PER_IMAGE = f"{PREFIX}/seconds_per_image"

# entries of the configuration of a W&B run
METHOD, SEED, NFE, MEMBERS = "method", "seed", "nfe", "members"
RECORD = "record"  # the run's own

# Lightning's counter of optimiser steps, against which the W&B logger draws everything
STEP = "trainer/global_step"


# tables of one variable, called as a score is: power of the members over the truth's; power of members, truth and error of the mean
POWER_RATIO, SPECTRA, RANKS = "power_ratio", "spectra", "rank_histogram"


def score(metric: str, variable: str) -> str:
    """A metric of one variable, in training and in tests."""
    return f"{PREFIX}/{metric}/{variable}"


def either(metric: str, stand_in: str, variable: str) -> str:
    """A score of an ensemble, or what stands for it in a single forecast, as the mean absolute error for the CRPS."""
    return score(f"{metric}_or_{stand_in}", variable)


def distance(name: str) -> str:
    """A distance between sets of images: fid, kid, classifier_frechet, those with `_test`, and their floors."""
    return f"{PREFIX}/{name}"
