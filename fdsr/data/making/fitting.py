"""What transforms take from the train block, before anything is transformed by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fdsr.data.making.config import PrepareConfig
from fdsr.data.making.pairing import Pairs
from fdsr.data.making.reading import PairReader
from fdsr.data.making.running import BLOCKS_PER_WORKER, Runner
from fdsr.data.making.splits import Block
from fdsr.data.values import ValueTransform
from fdsr.data.windows import Window
from fdsr.errors import FdsrError


class _Channel(NamedTuple):
    transform: ValueTransform
    fine: bool
    position: int  # among the fine or the coarse channels


@dataclass
class FitWork:
    """Reads a block of train steps and sums what the transforms of some channels ask for. Can be sent to another process."""

    reader: PairReader
    channels: Mapping[str, _Channel]
    windows: tuple[Window, Window]  # of the train block, on the fine and on the coarse grid

    def __call__(self, block: Block) -> dict[str, NDArray[np.float64]]:
        high, low, _ = self.reader.read(*block)
        high, low = self.windows[0].cut(high), self.windows[1].cut(low)
        return {n: c.transform.sums((high if c.fine else low)[:, c.position]) for n, c in self.channels.items()}


def fit_transforms(config: PrepareConfig, pairs: Pairs, train: Block, runner: Runner, length: int) -> PrepareConfig:
    """`config` with all its transforms measured over the train block, `length` steps at a time: the fine values of a channel, or
    its coarse ones where it has no others. Nothing is read where there is nothing to measure.

    Raises FdsrError where values allow no fit, naming the variable.
    """
    channels = dict(_unfitted(config, pairs))
    if not channels:
        return config
    work = FitWork(pairs.reader, channels, (pairs.train, pairs.train.coarse(config.factors)))
    blocks = [(first, min(first + length, train[1])) for first in range(*train, length)]
    size = runner.workers * BLOCKS_PER_WORKER
    found: list[dict[str, NDArray[np.float64]]] = []
    with tqdm(total=train[1] - train[0], desc="measuring transforms", unit="step") as bar:
        for start in range(0, len(blocks), size):
            for result in runner.wave(work, blocks[start : start + size], bar.update):
                if isinstance(result, Exception):
                    raise result
                found.append(result)
    fitted = {}
    for name, channel in channels.items():
        try:
            fitted[name] = channel.transform.fit(np.sum([sums[name] for sums in found], axis=0))
        except FdsrError as error:
            raise FdsrError(f"'{config.source}': variable '{name}': {error}") from error
    return replace(config, transforms={**config.transforms, **fitted})


def _unfitted(config: PrepareConfig, pairs: Pairs) -> Iterator[tuple[str, _Channel]]:
    for name, transform in config.transforms.items():
        if not transform.fitted:
            fine = name in pairs.high_channels
            yield name, _Channel(transform, fine, (pairs.high_channels if fine else pairs.low_channels).index(name))
