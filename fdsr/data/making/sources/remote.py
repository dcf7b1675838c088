"""Sources behind a URL: what their failures mean, and trying again when a failure may pass."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fdsr.errors import FdsrError

T = TypeVar("T")

ATTEMPTS = 5  # of a read, the first included
WAIT = 0.5  # seconds before the second attempt; doubled each time

# what another attempt will not mend
_FINAL = (FdsrError, FileNotFoundError, PermissionError, ImportError, MemoryError, TypeError, ValueError, LookupError)


def is_remote(path: str) -> bool:
    """Whether `path` is a URL that fsspec must resolve."""
    return "://" in path


def require_protocol(path: str) -> None:
    """Raise FdsrError if no installed package speaks the protocol of a URL."""
    import fsspec

    with reported(path):
        fsspec.get_filesystem_class(path.split("://", 1)[0])


@contextmanager
def reported(path: str, what: str = "source") -> Iterator[None]:
    """Turn any failure to reach `path`, a `what`, into one line that says what to mend."""
    try:
        yield
    except FdsrError:
        raise
    except Exception as error:
        raise FdsrError(f"{what} '{path}' {_meaning(error)}") from error


def patiently(read: Callable[[], T], path: str, what: str = "source") -> T:
    """Result of `read`, tried anew after failures that may pass; FdsrError naming `path` when they do not."""
    with reported(path, what):
        for attempt in range(ATTEMPTS):
            try:
                return read()
            except Exception as error:
                if isinstance(error, _FINAL) or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(WAIT * 2**attempt)
    raise AssertionError("unreachable")


def _meaning(error: Exception) -> str:
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    text = " | ".join(f"{type(e).__name__} {e}" for e in chain).lower()
    for words, meaning in _MEANINGS.items():
        if re.search(words, text):
            return meaning
    return f"cannot be read: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# looked for in the types and messages of the whole chain of causes, first match wins: words → meaning
_MEANINGS = {
    "protocol not known": "has a protocol that no installed package knows; s3://, gs:// and https:// are usual",
    "s3fs|gcsfs|adlfs|no module named|importerror": (
        "needs a Python package for its protocol: pip install s3fs (s3://), gcsfs (gs://) or aiohttp (https://)"
    ),
    "nocredentials|unable to locate credentials|permissionerror|forbidden|access ?denied|unauthorized|invalidaccesskeyid|"
    "signaturedoesnotmatch|anonymous caller|invalid credentials": (
        "refuses access; check permissions and credentials (for a public bucket --storage-option anon=true)"
    ),
    "nosuchbucket|bucket does not exist": "names a bucket that does not exist; check its name and the endpoint",
    "endpointconnection|cannot connect|connectionrefused|connect call failed|connection refused|name or service not known|"
    "clientconnector|timeout|timed out|connectionreset|serverdisconnected|connection ?(was )?closed": (
        "cannot be reached; check the network and the endpoint, then run the same command again"
    ),
    "filenotfound|groupnotfound|nosuchkey": "does not exist; check the path",
}
