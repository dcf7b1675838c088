"""How a verb of Lightning's ends that was told to stop: the exit status of a process that the signal ended, and one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

INTERRUPTED, TERMINATED = 130, 143


@contextmanager
def ctrl_c_is_ctrl_c() -> Iterator[None]:
    """Lightning's trainer turns Ctrl-C into SystemExit(1) and ignores any further one; outside of this it is KeyboardInterrupt again."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ending:
        if not isinstance(ending.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM ends with its own status; of several processes only the first says so, here and after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        if _silent():
            raise SystemExit(INTERRUPTED) from None
        raise
    except SIGTERMException:
        if not _silent():
            print("fdsr: terminated; finished work is kept", file=sys.stderr)
        # Lightning's own would end the process with status 0, as if the training were complete
        raise SystemExit(TERMINATED) from None


def _silent() -> bool:
    """Whether this is one of several processes, and not the first."""
    return bool(getattr(rank_zero_only, "rank", 0))
