"""Whether a file is the one that a configuration means."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fdsr.data.making.sources.remote import is_remote
from fdsr.errors import FdsrError


def require_checksum(source: str, sha256: str, origin: str = "") -> None:
    """Raise FdsrError unless the file `source` has the checksum `sha256`; the line says where it comes from, `origin`."""
    mend = f"; take it anew from {origin}" if origin else "; take the file that it was written for, or leave sha256 out"
    path = Path(source).expanduser()
    if is_remote(source) or path.is_dir():
        raise FdsrError(f"sha256 is of one file, and '{source}' is none; leave it out")
    if not path.exists():
        raise FdsrError(f"source '{source}' does not exist{mend.replace('take it anew', 'put it there')}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise FdsrError(f"source '{source}' has the sha256 {found}, not {sha256} as the configuration says{mend}")


def require_sha256(text: str) -> str:
    """`text` as sums are written. Raises FdsrError for what is none."""
    if not re.fullmatch(r"[0-9a-f]{64}", lower := text.strip().lower()):
        raise FdsrError(f"sha256 '{text}' is no checksum: it has 64 hexadecimal digits")
    return lower
