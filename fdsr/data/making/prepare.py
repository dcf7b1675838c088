"""From gridded sources to a pair store: coarsen or pair, split, and measure the train block."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from tqdm import tqdm

from fdsr.data.making.config import STORE_VERSION, PrepareConfig
from fdsr.data.making.fitting import fit_transforms
from fdsr.data.making.local_scale import measure_local_scale
from fdsr.data.making.pairing import Pairs, plan_pairs
from fdsr.data.making.partial import PartialStore, Progress
from fdsr.data.making.reading import PairReader
from fdsr.data.making.running import BLOCKS_PER_WORKER, Runner, open_runner
from fdsr.data.making.sources import source_identity
from fdsr.data.making.sources.checksum import require_checksum
from fdsr.data.making.splits import Block, split_blocks
from fdsr.data.making.statistics import Measure, PairSums
from fdsr.data.making.writing import Layout, create_store, finish_store, write_block
from fdsr.errors import FdsrError


class TargetExistsError(FdsrError):
    """There is something under the target's name already."""


def prepare(
    config: PrepareConfig,
    target: str | Path,
    *,
    scheduler: str | None = None,
    threads: int | None = None,
    steps_per_block: int | None = None,
    layout: Layout | None = None,
) -> Path:
    """Write the pair store of `config` to `target` and return its path.

    Atomic and resumable: the store grows in a hidden folder beside the target and is renamed when it is whole; after an
    interruption the same call goes on where it stopped, and the result is the same to the last bit. Work runs in threads,
    or on the Dask cluster at `scheduler`, `steps_per_block` time steps at a time (by default as many as fit in 32 MiB).
    Neither threads nor cluster change the result; the block length changes the statistics by float64 rounding. `layout`
    says how files are compressed and cut.

    Raises FdsrError if the target exists, the source lacks something or cannot be reached, the grid does not divide, or
    the data hold a missing value that the policy refuses.
    """
    target = store_folder(target)
    if target.exists():
        raise TargetExistsError(
            f"target '{target}' exists already; remove it (it is never overwritten) or name another"
        )
    if config.sha256 is not None:
        require_checksum(config.source, config.sha256, config.origin)
    pairs = plan_pairs(config)
    blocks = split_blocks(pairs.times, config.split, config.apart, config.source)
    layout = layout or Layout()
    length = layout.block_length(steps_per_block or pairs.block_length())
    plan = {
        "version": STORE_VERSION,
        "config": config.to_dict(),
        "sources": [source_identity(s, config.storage_options) for s in config.sources()],
        "splits": {name: list(block) for name, block in blocks.items()},
        "steps_per_block": length,
        **layout.described(),
    }
    partial = PartialStore(target)
    with write_errors_in_one_line(target), partial.locked(), open_runner(scheduler, threads) as runner:
        if target.exists():  # another process, which held the lock until now, has just made it
            partial.discard()
            return target
        try:
            config = fit_transforms(config, pairs, blocks["train"], runner, length)
        except FdsrError:
            if not (partial.folder / "plan.json").exists():  # of an attempt that came further
                partial.discard()
            raise
        progress = partial.progress(plan, lambda store: create_store(store, pairs, layout))
        work = BlockWork(pairs.reader, pairs.measure(config), partial.store, blocks["train"])
        write_blocks(work, partial, progress, runner, pairs.times.size, length)
        finish(config, partial, pairs, work.measure, progress, blocks, layout)
        partial.publish()
    return target


@dataclass
class BlockResult:
    """What a block leaves behind besides its chunks."""

    sums: PairSums | None  # of its train steps
    filled: NDArray[np.int64]


@dataclass
class BlockWork:
    """Reads a block, writes its chunks, and sums its train steps. Can be sent to another process."""

    reader: PairReader
    measure: Measure | None
    store: Path
    train: Block = (0, 0)

    def __call__(self, block: Block) -> BlockResult:
        first, last = block
        high, low, filled = self.reader.read(first, last)
        write_block(self.store, first, high, low)
        steps = range(max(first, self.train[0]), min(last, self.train[1]))
        if self.measure is None or not steps:
            return BlockResult(None, filled)
        sums = (self.measure(high[i - first], low[i - first]) for i in steps)
        return BlockResult(reduce(PairSums.__add__, sums), filled)


def write_blocks(
    work: BlockWork, partial: PartialStore, progress: Progress, runner: Runner, n: int, length: int
) -> None:
    """Run every block of the n time steps that is not done yet, a wave at a time, and note how far that came.

    Sums are added in the order of the blocks, whichever finished first, so that scheduling changes nothing. After a failure
    what was done before it is kept, unless that is nothing.
    """
    blocks = [(first, min(first + length, n)) for first in range(0, n, length)]
    size = runner.workers * BLOCKS_PER_WORKER
    done = blocks[progress.done - 1][1] if progress.done else 0
    with tqdm(total=n, initial=done, desc="preparing pairs", unit="step") as bar:
        while progress.done < len(blocks):
            wave = blocks[progress.done : progress.done + size]
            failure = _add(progress, runner.wave(work, wave, bar.update))
            partial.save(progress)
            if failure is not None:
                if progress.done == 0:
                    partial.discard()
                elif isinstance(failure, FdsrError):
                    raise FdsrError(
                        f"{failure} ({blocks[progress.done - 1][1]} of {n} time steps are finished and kept: the same "
                        "command goes on from there)"
                    ) from failure
                raise failure


def _add(progress: Progress, results: list[BlockResult | Exception]) -> Exception | None:
    """Add a wave's results to `progress` up to the first that failed, and return that failure."""
    for result in results:
        if isinstance(result, Exception):
            # blocks that were not begun because of another's failure stand before or after it
            return next(r for r in results if isinstance(r, Exception) and str(r) != "not begun")
        if result.sums is not None:
            progress.sums = result.sums if progress.sums is None else progress.sums + result.sums
        progress.filled = result.filled if progress.filled is None else progress.filled + result.filled
        progress.done += 1
    return None


def finish(
    config: PrepareConfig,
    partial: PartialStore,
    pairs: Pairs,
    measure: Measure | None,
    progress: Progress,
    blocks: dict[str, Block],
    layout: Layout,
) -> None:
    """Turn sums into statistics and complete the store. Data that allow none leave nothing behind."""
    assert progress.sums is not None and measure is not None and progress.filled is not None
    try:
        statistics = measure.finish(progress.sums, pairs.high_channels, pairs.low_channels, config.source)
        group = zarr.open_group(str(partial.store), mode="r", use_consolidated=False)
        local = measure_local_scale(group, measure, blocks["train"], statistics)
    except FdsrError:
        partial.discard()
        raise
    names = [*pairs.high_channels, *pairs.low_channels]
    filled: dict[str, int] = {}
    for name, count in zip(names, progress.filled, strict=True):
        filled[name] = max(filled.get(name, 0), int(count))
    present = progress.sums.present if config.missing == "mask" else None
    finish_store(partial.store, config, pairs, blocks, statistics, local, filled, layout, present)


def store_folder(target: str | Path) -> Path:
    """The folder of a store to be made. Raises FdsrError for what is none: a URL, nothing, the name of another kind of file."""
    path = Path(target).expanduser()
    if re.match(r"[A-Za-z0-9]{2,}:/", str(target)):  # a path has one slash left of two
        raise FdsrError(f"target '{target}' is a URL; prepare a local store, then copy it")
    if not str(target).strip() or path.suffix.lower() in (".nc", ".nc4", ".grib", ".grb", ".h5", ".hdf5"):
        raise FdsrError(f"target '{target}' is no name for a store, which is a folder of Zarr; call it NAME.zarr")
    return path


@contextmanager
def write_errors_in_one_line(target: Path) -> Iterator[None]:
    """Turn failures to write into one line; a full disk keeps what is finished."""
    try:
        with warnings.catch_warnings():
            # strings of variable length have no final specification in Zarr 3; fdsr reads what it writes
            warnings.filterwarnings("ignore", "The data type .* does not have a Zarr V3 specification")
            yield
    except OSError as error:
        mend = "choose a writable place"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "free some space and run the same command again: finished steps are kept"
        raise FdsrError(f"pair store '{target}' cannot be written: {error.strerror or error}; {mend}") from error
