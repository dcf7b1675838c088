"""Models at an address of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from fdsr.errors import FdsrError, one_line


def local_copy(path: str | Path) -> Path:
    """`path` itself where it is one here, else the folder that the hub's model of that name, ORG/NAME, is kept in.

    Raises FdsrError where there is neither, or huggingface_hub is not installed.
    """
    here = Path(path).expanduser()
    if here.exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path)):
        return here
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FdsrError(
            f"there is no '{path}' here, and to look for a model of that name on the hub huggingface_hub is needed: "
            "pip install huggingface_hub"
        ) from error
    try:
        return Path(snapshot_download(str(path)))
    except Exception as error:  # of the network, of the hub, of the cache
        raise FdsrError(f"there is no '{path}' here, and none came from the hub: {one_line(error)}") from error
