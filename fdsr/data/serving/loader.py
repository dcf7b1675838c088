"""From samples to a stream of batches."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import BatchSampler, DataLoader

from fdsr.data.serving.prefetch import prefetched


class BatchedDataset(Protocol):
    """A data set that makes a whole batch at once."""

    def __getitems__(self, items: Any) -> Any: ...


class BatchLoader:
    """Batches of `dataset` in the sampler's order, fetched ahead by a thread or by worker processes.

    Not a torch DataLoader on purpose: trainers put a distributed sampler of their own into those, and these samplers know
    their process already. Trainers find `sampler`, whose `set_epoch` they call, the `batch_sampler` that Lightning asks for beside
    it, and a length.

    Args:
        dataset: has `__getitems__`, which returns a batch.
        sampler: what to ask it for, one sample at a time; sized.
        batch_size: samples a batch.
        drop_last: leave out an incomplete last batch.
        prefetch: batches fetched ahead; 0 fetches when asked.
        num_workers: processes, begun by forkserver; 0 fetches by a thread, which is faster unless Python itself has much to
            do for a sample.
        sized: False hides the length. Lightning skips the whole evaluation of a process whose loader is empty, hooks and
            collectives included, which the others would wait for: hide it where some process may have no sample.
    """

    def __init__(
        self,
        dataset: BatchedDataset,
        sampler: Any,
        batch_size: int,
        drop_last: bool = False,
        prefetch: int = 2,
        num_workers: int = 0,
        sized: bool = True,
    ) -> None:
        self.dataset, self.sampler, self.batch_size = dataset, sampler, batch_size
        self.drop_last, self.prefetch, self.num_workers, self.sized = drop_last, prefetch, num_workers, sized
        self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self._workers: DataLoader | None = None

    def __len__(self) -> int:
        if not self.sized:
            raise TypeError("this loader does not know its length")
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        # Nothing happens before the first `next`: trainers make an iterator to see whether they can, and drop it.
        if self.num_workers or self.prefetch < 1:
            return self._fetch()
        return prefetched(self._fetch, self.prefetch)

    def _fetch(self) -> Iterator[Any]:
        if self.num_workers:
            yield from self._worker_loader()
        else:
            for items in self.batch_sampler:
                yield self.dataset.__getitems__(items)

    def _worker_loader(self) -> DataLoader:
        """Made once: its processes stay from epoch to epoch."""
        if self._workers is None:
            context = multiprocessing.get_context("forkserver")
            # imported once, by the server that workers are forked from, which never opens a store
            context.set_forkserver_preload(["__main__", "fdsr.data.serving.datasets"])
            self._workers = DataLoader(
                self.dataset,  # type: ignore[arg-type]
                batch_sampler=self.batch_sampler,
                num_workers=self.num_workers,
                multiprocessing_context=context,
                collate_fn=_as_it_is,
                prefetch_factor=max(1, self.prefetch),
                persistent_workers=True,
                pin_memory=torch.cuda.is_available(),
                generator=torch.Generator(),  # its seed draw must not move the global generator
            )
        return self._workers


def _as_it_is(batch: Sequence) -> Sequence:
    return batch
