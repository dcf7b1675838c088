"""What stands at a path of this machine: which files and stores it means, and what each is by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from zipfile import ZipFile, is_zipfile

from fdsr.errors import FdsrError

# the documents that describe a Zarr store, of either format
STORE_DOCUMENTS = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it begins, and what becomes of one that cannot be read."""

    name: str
    beginnings: tuple[bytes, ...]  # lower case where it is text
    mend: str = ""  # empty where it is read


NETCDF = Kind("NetCDF", (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n"))
GRIB = Kind("GRIB", (b"GRIB",))
ZIP = Kind("a ZIP archive", (b"PK\x03\x04",))
ZARR = Kind("Zarr", ())
_OTHERS = (
    Kind("a web page", (b"<!doctype", b"<html"), "a login or an error came instead of the data; fetch it again"),
    Kind("XML", (b"<?xml",), "an error came instead of the data; fetch it again"),
    Kind("compressed by gzip", (b"\x1f\x8b",), "unpack it first (gunzip)"),
    Kind("compressed by bzip2", (b"BZh",), "unpack it first (bunzip2)"),
    Kind("HDF4", (b"\x0e\x03\x13\x01",), "convert it to NetCDF first (h4tonccf_nc4)"),
    Kind("TIFF", (b"II*\0", b"MM\0*"), "convert it to NetCDF first (gdal_translate -of netCDF)"),
    Kind("a pointer of Git LFS", (b"version https://git-lfs",), "fetch the file itself (git lfs pull)"),
)
_UNKNOWN = Kind("of no kind that is known", (), "NetCDF, HDF5, GRIB and Zarr are read")


def local_places(path: str) -> list[str]:
    """The files and folders that a path or pattern means, sorted; `~` is the home directory, and `[1]` may be meant so."""
    if not path.strip():
        return []
    home = str(Path(path).expanduser())
    if Path(home).exists():
        return [home]
    return sorted(glob(home)) or sorted(glob(re.sub(r"\[", "[[]", home)))  # noqa: PTH207  the pattern may be absolute


def is_store(folder: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((folder / name).exists() for name in STORE_DOCUMENTS)


def kind_of(file: str) -> Kind:
    """What a file or folder is. Raises FdsrError where it is nothing that is read, with what to do about it."""
    kind = ZARR if is_store(Path(file)) else _by_beginning(file)
    if kind.mend:
        raise FdsrError(f"source '{file}' cannot be opened: it is {kind.name}; {kind.mend}")
    return kind


def _by_beginning(file: str) -> Kind:
    try:
        with Path(file).open("rb") as opened:
            head = opened.read(512)
    except OSError as error:  # no permission, or a link to nothing
        raise FdsrError(
            f"source '{file}' cannot be read: {error.strerror}; check its permissions and what it links to"
        ) from error
    if not head:
        return Kind("empty", (), "fetch it again")
    text = head.lstrip().lower()
    for kind in (NETCDF, GRIB, ZIP, *_OTHERS):
        if head.startswith(kind.beginnings) or text.startswith(kind.beginnings):
            return kind
    return GRIB if GRIB.beginnings[0] in head else _UNKNOWN  # behind the heading of a bulletin


def data_files(places: list[str], where: str) -> Iterator[tuple[str, str]]:
    """(label, path) of every file and store at `places`: what lies in folders, and what ZIP archives unpack to.

    Other things in a folder or an archive are passed over. Raises FdsrError for a place that holds nothing to read.
    """
    for place in places:
        if Path(place).is_dir() and not is_store(Path(place)):
            inside = [str(p) for p in sorted(Path(place).iterdir()) if not p.name.startswith(".") and _is_read(str(p))]
            if not inside:
                raise FdsrError(f"source '{place}' is a folder without NetCDF, GRIB or Zarr in it; name what is meant")
            yield from data_files(inside, where)
        elif kind_of(place) is ZIP and not _is_zarr_archive(place):
            yield from _unpacked(place)
        else:
            yield place, place


def _is_read(path: str) -> bool:
    return is_store(Path(path)) if Path(path).is_dir() else not _by_beginning(path).mend


def _is_zarr_archive(file: str) -> bool:
    if not is_zipfile(file):
        raise FdsrError(f"source '{file}' cannot be opened: it is a ZIP archive cut short; fetch it again")
    with ZipFile(file) as archive:
        return any(name in STORE_DOCUMENTS for name in archive.namelist())


def _unpacked(file: str) -> Iterator[tuple[str, str]]:
    """What a ZIP archive holds, as local copies that last as long as this process."""
    import fsspec

    with ZipFile(file) as archive:
        names = [i.filename for i in archive.infolist() if not i.is_dir()]
    copies = [fsspec.open_local(f"simplecache::zip://{name}::file://{Path(file).resolve()}") for name in names]
    found = [(f"{file}/{name}", copy) for name, copy in zip(names, copies, strict=True) if _is_read(copy)]
    if not found:
        raise FdsrError(f"source '{file}' is a ZIP archive without NetCDF or GRIB in it ({', '.join(names[:3])})")
    yield from found
