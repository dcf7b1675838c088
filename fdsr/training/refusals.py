"""What the parser, Lightning and torch raise for a setting, as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonargparse
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from fdsr.errors import FdsrError, parser_reason


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Raises FdsrError in place of whatever refuses a setting."""
    try:
        yield
    except (jsonargparse.ArgumentError, MisconfigurationException) as error:
        raise FdsrError(f"configuration: {parser_reason(str(error))}") from error
    except ValueError as error:
        # a constructor that refuses its arguments, as the parser wraps it
        if not str(error).startswith("Does not validate against"):
            raise
        raise FdsrError(f"configuration: {parser_reason(str(_first_cause(error)))}") from error
    except RuntimeError as error:
        if "in loading state_dict" not in str(error):
            raise
        raise FdsrError(
            "the checkpoint holds another network than the configuration; use the configuration it was trained with"
        ) from error


def require_files(arguments: list[str]) -> None:
    """A missing configuration deserves a better word than a parser's."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, rest = flag.partition("=")
        path = rest if equals else value
        if name in ("--config", "-c") and not Path(path).is_file():
            raise FdsrError(f"configuration '{path}' does not exist; see the folder experiments/")


def _first_cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _first_cause(error.__cause__)
