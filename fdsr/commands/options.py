"""What the plain verbs' options have in common: a parser that says in one line what is wrong, and kinds of values."""

from __future__ import annotations

import argparse
import json
from typing import Any, NoReturn

from fdsr.errors import FdsrError


class Parser(argparse.ArgumentParser):
    """The parser of a verb. Says what is wrong in one line instead of printing its whole usage."""

    def __init__(self, verb: str, description: str, **settings: Any) -> None:
        super().__init__(prog=f"fdsr {verb}", description=description, **settings)
        self.verb = verb

    def error(self, message: str) -> NoReturn:
        raise FdsrError(f"{self.verb}: {message} (see 'fdsr {self.verb} --help')")


def positive(text: str, least: int = 1) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
    return int(text)


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    return positive(text, least=0)


def sides(text: str) -> tuple[int, int]:
    """Two whole numbers of at least 1, of rows and of columns, or one for both."""
    parts = text.split(",")
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"'{text}' is neither N nor ROWS,COLUMNS")
    return positive(parts[0]), positive(parts[-1])


def names(text: str) -> list[str]:
    """Names between commas."""
    return [n.strip() for n in text.split(",") if n.strip()]


def key_value(text: str) -> tuple[str, object]:
    """KEY=VALUE; the value is read as JSON where it is JSON."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
