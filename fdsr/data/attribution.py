"""What is owed to those who made data: attributes that go along with whatever is made of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OWED = ("attribution", "institution", "license", "licence", "references", "acknowledgement")


def owed(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Those of a dataset's attributes that name its makers and their conditions."""
    return {name: str(attributes[name]) for name in OWED if isinstance(attributes.get(name), str)}


def in_words(about: Mapping[str, str] | None) -> str:
    """What is owed, on one line; empty where nothing is known to be."""
    about = about or {}
    known = [about[name].rstrip(".") for name in ("attribution", "acknowledgement", "institution") if name in about][:1]
    licence = about.get("license") or about.get("licence")
    known += [f"Licence of the data: {licence.rstrip('.')}"] if licence else []
    known += [f"References: {about['references'].rstrip('.')}"] if "references" in about else []
    return " ".join(f"{' '.join(text.split())}." for text in known)
