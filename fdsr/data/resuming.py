"""Going on in the middle of an epoch, whatever was a batch when the checkpoint was saved."""

from __future__ import annotations

from typing import Any

import lightning as L


class ResumableDataModule(L.LightningDataModule):
    """A data module whose checkpoints say how many samples a step takes, so that a resumed epoch goes on behind the last of them."""

    batch_size: int
    _samples_before: int | None = None  # a step, over all processes, when the checkpoint was saved

    @property
    def _place(self) -> tuple[int, int]:
        """(rank, world_size) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def _samples(self) -> int:
        return self.batch_size * self._place[1]

    def state_dict(self) -> dict[str, Any]:
        return {"samples_per_step": self._samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._samples_before = state_dict["samples_per_step"]

    def batches_done(self, batches: int) -> int:
        """How many of an epoch's `batches` are behind a resumed run; 0 for any other epoch.

        Lightning counts batches: where these have become larger or smaller, its count is made that of as many samples, and
        less than a batch of them is seen twice.
        """
        if self.trainer is None:
            return 0
        # checkpoints are saved before a batch counts as completed
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        if self._samples_before not in (None, self._samples):
            done = progress.processed * self._samples_before // self._samples
            for count in ("completed", "ready", "started", "processed"):
                setattr(progress, count, done - (progress.processed - getattr(progress, count)))
        self._samples_before = None
        done = int(progress.processed)
        return done if done < batches else 0
