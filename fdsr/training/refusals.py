"""What the parser, Lightning and torch raise for a setting, as one line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from fdsr.errors import FdsrError, one_line, require_at_least
from fdsr.parser_words import parser_reason

# whose code refuses settings: what it raises is meant for a user, and says which setting
_REFUSING = ("lightning.", "torch.optim.", "torch.utils.data.")
# where the words leave out the setting
_SETTINGS = {"lightning.fabric.utilities.seed": "seed_everything: "}
_OTHER_FORMATS = re.compile(r"\.(grib2?|grb2?|h5|hdf5?|tiff?|csv|txt|np[yz]|png)")  # than predictions are written in


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Raises FdsrError in place of whatever refuses a setting. Mistakes of the program keep their traceback."""
    try:
        yield
    except FdsrError:
        raise
    except Exception as error:
        if words := _words(error):
            raise FdsrError(words) from error
        raise


def _words(error: Exception) -> str | None:
    """What a user is told; nothing if the error is not about a setting."""
    message, cause = str(error), _first_cause(error)
    if "in loading state_dict" in message:
        return "the checkpoint holds another network than the configuration; use the configuration it was trained with"
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in message:
        return (
            "the memory does not suffice; try a smaller --data.init_args.batch_size, --data.init_args.patch or "
            "--model.init_args.members, or recompute: true among the backbone_args"
        )
    if isinstance(cause, FdsrError):  # a constructor that refuses its arguments, as the parser wraps it
        return f"configuration: {cause}"
    if isinstance(error, (jsonargparse.ArgumentError, MisconfigurationException)) or "Does not validate" in message:
        return f"configuration: {parser_reason(message)}"
    where = _raised_in(error)
    if isinstance(error, (ValueError, TypeError, RuntimeError)) and where.startswith(_REFUSING):
        return f"configuration: {_SETTINGS.get(where, '')}{parser_reason(message)}"
    return None


def _raised_in(error: Exception) -> str:
    """The name of the module whose code raised the error; what only hands torch's functions on has not raised it."""
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if f.f_code.co_name != "__torch_function__"]
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


def _first_cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _first_cause(error.__cause__)


def require_trainer(settings: Any) -> None:
    """Settings that Lightning takes and then divides by, or cannot use with the loaders that are here."""
    divisors = ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps")
    require_at_least(1, "configuration: trainer.", **{name: settings.get(name) for name in divisors})
    require_at_least(0, "configuration: trainer.", gradient_clip_val=settings.get("gradient_clip_val"))
    if settings.get("val_check_interval") == 0:
        raise FdsrError(
            "configuration: trainer.val_check_interval is 0; switch validation off by trainer.limit_val_batches 0"
        )
    if str(settings.get("precision")) in ("bf16-true", "16-true"):
        raise FdsrError(
            f"configuration: trainer.precision {settings.precision} would round weights, tables and scores; use bf16-mixed"
        )
    if settings.get("overfit_batches"):
        raise FdsrError("configuration: trainer.overfit_batches wants torch's loader; use trainer.limit_train_batches")


def require_output(path: str | None) -> None:
    """Raise FdsrError for a name that says a format which predictions are not written in, or another machine."""
    if path and re.match(r"[A-Za-z0-9]{2,}:/", path):
        raise FdsrError(f"--output '{path}' is a URL; write a store here, then copy it")
    if path and _OTHER_FORMATS.fullmatch(suffix := Path(path).suffix.lower()):
        raise FdsrError(f"--output '{path}': predictions are written as Zarr (.zarr) or NetCDF (.nc), not as {suffix}")


def require_files(arguments: list[str]) -> None:
    """A configuration that is missing, or is none, deserves a better word than a parser's."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, rest = flag.partition("=")
        if name in ("--config", "-c"):
            _require_settings(rest if equals else value)


def _require_settings(path: str) -> None:
    if not Path(path).is_file():
        raise FdsrError(f"configuration '{path}' does not exist; see the folder experiments/")
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _OnceLoader)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise FdsrError(f"configuration '{path}' is no YAML that can be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise FdsrError(
            f"configuration '{path}' holds no settings, which are written as name: value; see the folder experiments/"
        )


class _OnceLoader(yaml.SafeLoader):
    """Refuses what YAML's own readers pass over: of a setting that stands twice they take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), ""):
            raise yaml.YAMLError(
                f"'{twice}' stands twice in line {node.start_mark.line + 1} and below; leave one of them out"
            )
        return super().construct_mapping(node, deep)
