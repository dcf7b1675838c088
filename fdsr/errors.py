"""The one error a user is meant to read."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class FdsrError(Exception):
    """A condition the user can mend, told in one line: what is wrong, where, and the mend.

    The command line prints the message alone and exits with status 2; library callers catch it like any exception.
    """


def one_line(error: BaseException, longest: int = 300) -> str:
    """What an error says, on one line; its type's name where it says nothing."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """table[name]. Raises FdsrError that lists the names."""
    if name not in table:
        raise FdsrError(f"{what} '{name}' is unknown; choose one of {', '.join(table)}")
    return table[name]


def require_alike(different: Sequence[str], data: str, mend: str) -> None:
    """Raise FdsrError with all that makes a checkpoint unfit for `data`, where there is anything."""
    if different:
        raise FdsrError(f"checkpoint does not match {data}: {'; '.join(different)}; {mend}")


def require_at_least(least: int, where: str, **settings: float | None) -> None:
    """Raise FdsrError at the first of the settings of `where` that is less; None is no value."""
    for name, value in settings.items():
        if value is not None and value < least:
            raise FdsrError(f"{where}{name} is {value}; it must be at least {least}")
