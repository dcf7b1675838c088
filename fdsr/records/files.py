"""The kinds of file that runs leave: each is read and written in one way, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdsr.atomic import write_text, written_whole
from fdsr.errors import FdsrError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class File:
    """A file that may be there."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return self.path.is_file()


@dataclass(frozen=True)
class JSONObject(File):
    """Named values. mend: what the user can do where it is broken."""

    mend: str = "remove it"

    def read(self) -> dict[str, Any]:
        """Empty where there is no file. Raises FdsrError for anything but an object."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8")) if self.exists() else {}
        except ValueError as error:
            raise FdsrError(f"'{self}' is not JSON ({error}); {self.mend}") from error
        if not isinstance(found, dict):
            raise FdsrError(f"'{self}' is a JSON {type(found).__name__} instead of an object; {self.mend}")
        return found

    def write(self, values: Mapping[str, Any]) -> None:
        write_text(self.path, json.dumps(values, indent=2) + "\n")


@dataclass(frozen=True)
class JSONLines(File):
    """One object a line, in the order in which they came."""

    def read(self) -> list[dict[str, Any]]:
        """Empty where there is no file. What a killed process left of a line is none."""
        found = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.exists() else []:
            try:
                found.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return found

    def append(self, values: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            end = file.seek(0, 2)
            file.seek(max(end - 1, 0))
            cut = file.read() not in (b"", b"\n")  # by a kill: what comes now is a line of its own
            file.write((b"\n" if cut else b"") + json.dumps(values).encode() + b"\n")


@dataclass(frozen=True)
class Table(File):
    """A CSV of rows, column → text."""

    def read(self) -> list[dict[str, str]]:
        """Empty where there is no file."""
        if not self.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
        """Columns that are not given are those of the rows; None, or what a row lacks, is an empty cell."""
        columns = columns or list(dict.fromkeys(name for row in rows for name in row))
        with written_whole(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@dataclass(frozen=True)
class NetCDF(File):
    """Arrays, small enough to be held in memory."""

    def read(self) -> xr.Dataset | None:
        """None where there is no file."""
        import xarray as xr

        if not self.exists():
            return None
        with xr.open_dataset(self.path, engine="scipy") as ds:
            return ds.load()

    def write(self, ds: xr.Dataset) -> None:
        with written_whole(self.path) as partial:
            ds.to_netcdf(partial, engine="scipy")
