"""What is owed to those who made data: attributes that go along with whatever is made of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OWED = ("attribution", "institution", "license", "licence", "references", "acknowledgement")


def owed(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Those of a dataset's attributes that name its makers and their conditions."""
    return {name: str(attributes[name]) for name in OWED if isinstance(attributes.get(name), str)}
