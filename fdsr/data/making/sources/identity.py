"""What a source is at this moment: a hash that changes when the source does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fdsr.data.making.sources.files import STORE_DOCUMENTS, local_places
from fdsr.data.making.sources.remote import is_remote, reported


def source_identity(path: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Hash of a source's state: of a local one, every file's name, size and time of change; of a remote one, its
    metadata documents and what the server says of them (size, ETag, time). A local source that is missing has an
    identity of its own: what was prepared from it is found by its path (data.store) alone.
    """
    digest = hashlib.sha256()
    for line in _remote_lines(path, storage_options or {}) if is_remote(path) else _local_lines(path):
        digest.update(line + b"\n")
    return digest.hexdigest()[:16]


def _local_lines(path: str) -> Iterator[bytes]:
    places = local_places(path)
    if not places:
        yield b"missing"
    for top in places:
        if Path(top).is_file():
            yield _file_line(top, Path(top).stat())
            continue
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                file = os.path.join(folder, name)  # noqa: PTH118  a Path each is slow for a million of chunks
                yield _file_line(os.path.relpath(file, top), os.stat(file))  # noqa: PTH116


def _file_line(name: str, status: os.stat_result) -> bytes:
    return f"{name} {status.st_size} {status.st_mtime_ns}".encode()


def _remote_lines(path: str, storage_options: Mapping[str, Any]) -> Iterator[bytes]:
    import fsspec

    with reported(path):
        fs, root = fsspec.core.url_to_fs(path, **storage_options)
        documents = [f"{root.rstrip('/')}/{name}" for name in STORE_DOCUMENTS]
        present = [d for d in documents if fs.exists(d)]
        if not present:
            present = [root]
        for document in present:
            info = fs.info(document)
            said = [str(info.get(k)) for k in ("size", "ETag", "etag", "mtime", "LastModified", "updated")]
            yield " ".join([document, *said]).encode()
            if document != root:
                yield fs.cat_file(document)
