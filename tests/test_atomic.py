"""Files that are written whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fdsr.atomic import write_text, written_whole


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="full"), written_whole(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        raise ValueError("full")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_folder_appears_at_once_and_never_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with written_whole(path) as partial:
        partial.mkdir()
        (partial / "a").touch()
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["a"]
    with pytest.raises(OSError, match="not empty"), written_whole(path) as partial:
        partial.mkdir()
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path, texts = tmp_path / "file", [str(i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(path, text), texts))
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]
