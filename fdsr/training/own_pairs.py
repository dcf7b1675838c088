"""--store: the methods of a configuration on a pair store of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from fdsr.data.making.config import PrepareConfig
from fdsr.errors import FdsrError

# how the pairs of a configuration are made, which the store of others knows itself
_MAKING = {f.name: f for f in fields(PrepareConfig) if f.name != "storage_options"}


def take_store(data: Any, store: str, words: Sequence[str]) -> None:
    """Let parsed `data` (class_path, init_args) be the pairs of `store`: what it says of the making of pairs goes, the rest stays.

    Args:
        data: the namespace of a data module, changed in place.
        store: path or address of a pair store.
        words: the command line, in which nobody may say how pairs are made that are made already.

    Raises FdsrError where the data are no pairs, or `words` contradict the store.
    """
    arguments = data.init_args
    if "store" not in arguments:
        raise FdsrError(f"--store is for pairs of fields, not for {data.class_path}; leave it out")
    given = {word.partition("=")[0].rpartition(".")[2] for word in words if word.startswith("--data.")}
    if contradicting := sorted(given & (_MAKING.keys() | {"store"})):
        raise FdsrError(f"--store says how its pairs were made; leave out --data.init_args.{contradicting[0]}")
    arguments.store = store
    for name, f in _MAKING.items():
        if name in arguments:
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            arguments[name] = None if default is MISSING else default
