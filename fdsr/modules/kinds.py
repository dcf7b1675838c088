"""The kinds of data that methods know: what describes each, and what turns it into targets and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fdsr.data.field_spec import FieldSpec
from fdsr.data.image_spec import ImageSpec
from fdsr.errors import FdsrError
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.image_codec import ImageCodec

Spec = FieldSpec | ImageSpec


class Kind(NamedTuple):
    """One kind of data."""

    spec: Any
    codec: Any


KINDS: dict[str, Kind] = {"fields": Kind(FieldSpec, FieldCodec), "images": Kind(ImageSpec, ImageCodec)}


def kind_of(spec: Spec) -> str:
    """The name of the kind that `spec` describes."""
    return next(name for name, kind in KINDS.items() if type(spec) is kind.spec)


def read_spec(values: Mapping[str, Any], kind: str = "fields") -> Spec:
    """A spec from what its `to_dict` gave. Files of before there were kinds hold fields."""
    if kind not in KINDS:
        raise FdsrError(f"the checkpoint holds data of kind '{kind}', which this version of fdsr does not know")
    return KINDS[kind].spec.from_dict(values)
