"""Settings as plain values: what a checkpoint says of the arguments its module was built with, and the way back.

A setting may be an object (a noise, a loss, a sampler) that keeps every argument of its constructor as an attribute of the
same name, as a dataclass does. In a checkpoint it is {"class_path": …, "init_args": {…}}, as in a configuration file.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import jsonargparse

from fdsr.errors import FdsrError
from fdsr.parser_words import parser_reason

T = TypeVar("T")


def import_path(thing: Any) -> str:
    """The shortest path that `thing`, a class or a module's constant, can be imported from."""
    name, parts = thing.__qualname__, thing.__module__.split(".")
    for n in range(1, len(parts)):
        if getattr(importlib.import_module(".".join(parts[:n])), name, None) is thing:
            return ".".join([*parts[:n], name])
    return f"{thing.__module__}.{name}"


def plain(value: Any, what: str) -> Any:
    """`value` in plain containers, numbers and strings. Raises FdsrError for an object that cannot be described so."""
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # numpy's numbers are no plain ones
    if isinstance(value, Mapping):
        values = {str(k): plain(v, f"{what}.{k}") for k, v in value.items()}
        # as of an object, also of one without arguments
        return {**values, "init_args": {}} if list(values) == ["class_path"] else values
    if isinstance(value, list | tuple):
        return [plain(v, what) for v in value]
    cls = type(value)
    names = None if cls.__module__ == "builtins" else _arguments(cls)
    missing = [n for n in names or [] if not hasattr(value, n)]
    if names is None or missing:
        keep = (
            f"let it keep its argument '{missing[0]}' as an attribute of that name, or be a dataclass"
            if missing
            else ""
        )
        mend = keep or "give plain values, or an object that takes such"
        raise FdsrError(f"{what} is a {cls.__name__}, which a checkpoint cannot describe; {mend}")
    return {"class_path": import_path(cls), "init_args": {n: plain(getattr(value, n), f"{what}.{n}") for n in names}}


def _arguments(cls: type) -> list[str] | None:
    """Names of a constructor's arguments, those it passes on to its parents included; None where Python knows none."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:  # written in C
        return None
    own = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return list(dict.fromkeys([*own, *accepted(cls)]))


@cache
def accepted(cls: Any) -> list[str]:
    """Names of the arguments that `cls` takes, those it passes on to its parents included."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "it", fail_untyped=False)
    return list(dict.fromkeys(key.split(".")[1] for key in parser.get_defaults().keys()))  # noqa: SIM118  (no mapping)


def build(cls: type[T], values: Mapping[str, Any], what: str) -> T:
    """`cls` from plain values. Raises FdsrError for one that it does not take."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "it", fail_untyped=False)
    try:
        return parser.instantiate(parser.parse_object({"it": dict(values)})).it
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise FdsrError(f"{what}: {parser_reason(str(error))}") from error


def require_instances(settings: Mapping[str, tuple[Any, type]]) -> None:
    """Each of {argument: (value, class)} is of its class. Raises FdsrError for one that is not: a name in place of an object."""
    for name, (value, cls) in settings.items():
        if not isinstance(value, cls):
            raise FdsrError(
                f"model.{name} is {value!r}; give an object of a class that derives from {import_path(cls)}, as fdsr.diffusion has"
            )
