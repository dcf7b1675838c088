"""Whether a checkpoint's weights mean what a configuration takes them for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fdsr.errors import FdsrError


def require_agreement(meaning: Iterable[str], saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise FdsrError where settings that say what weights mean differ between a checkpoint's, `saved`, and a module's own.

    Both are plain values, see `fdsr.modules.settings`. What one of them does not know is left out: another version wrote it.
    """
    different = [
        f"model.{name} {_said(saved[name])}, not {_said(own[name])}"
        for name in meaning
        if name in saved and name in own and not _agree(saved[name], own[name])
    ]
    if different:
        raise FdsrError(
            f"the checkpoint was trained with {' and '.join(different)}; give as --config the configuration "
            "that stands in its run's folder, or train anew"
        )


def _agree(saved: Any, own: Any) -> bool:
    if not (isinstance(saved, Mapping) and isinstance(own, Mapping)):
        return bool(saved == own)
    if "class_path" in saved and "class_path" in own and _class(saved) != _class(own):
        return False
    return all(_agree(saved[name], own[name]) for name in saved if name in own and name != "class_path")


def _class(value: Mapping[str, Any]) -> str:
    """Without its module, which may have moved between versions."""
    return str(value["class_path"]).rpartition(".")[2]


def _said(value: Any) -> str:
    if not (isinstance(value, Mapping) and "class_path" in value):
        return repr(value)
    arguments = ", ".join(f"{k}={_said(v)}" for k, v in value.get("init_args", {}).items())
    return f"{_class(value)}({arguments})"
