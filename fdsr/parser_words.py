"""What jsonargparse says of a setting, in one line: the setting's keys, what was expected, and what was given."""

from __future__ import annotations

import re
import textwrap
from itertools import takewhile
from typing import NamedTuple

_LONGEST = 400  # characters of a message
_HEADER = re.compile(r"""(?:- )?(?:Parser key "(?P<key>[^"]+)"|Problem with given class_path '(?P<path>[^']+)'):\s*$""")
_FRAME = ("Does not validate against", "Subtypes:", "Errors:", "Given value")  # says nothing by itself
_PLAIN = {"NoneType": "null", "int": "integer", "float": "number", "str": "text", "tuple": "list",
          "dict": "mapping", "collections.abc.Sequence": "list", "collections.abc.Iterable": "list"}  # fmt: skip


class _Line(NamedTuple):
    indent: int
    text: str


def parser_reason(message: str) -> str:
    """From the parser's tree of reasons the innermost one, by way of the keys that lead there."""
    lines = [_Line(len(line) - len(line.lstrip(" ")), line.strip()) for line in message.splitlines() if line.strip()]
    headers = [i for i, line in enumerate(lines) if _HEADER.match(line.text)]
    if not headers:
        return _short(_reason([line.text.removeprefix("- ") for line in lines], "") or "not understood")
    deepest = max(headers, key=lambda i: (lines[i].indent, -i))
    # what is below a key of the first level is not always indented
    indent = lines[deepest].indent
    below = takewhile(lambda line: line.indent > indent or not indent, lines[deepest + 1 :])
    header = _HEADER.match(lines[deepest].text)
    reason = _reason([line.text.removeprefix("- ") for line in below], (header and header["path"]) or "")
    return _short(f"{_name(lines, deepest)}: {reason}")


def _name(lines: list[_Line], header: int) -> str:
    """Its keys, joined by dots."""
    parts: list[str] = []
    indent = lines[header].indent + 1
    for line in reversed(lines[: header + 1]):
        found = _HEADER.match(line.text)
        if found and line.indent < indent:
            indent = line.indent
            parts.append(found["key"] or "")
    return ".".join(part for part in reversed(parts) if part)


def _reason(body: list[str], path: str) -> str:
    given = [
        re.sub(r"^NestedArg\(key='(.*?)', val=(.*)\)$", r"{\1: \2}", m[1])
        for word in ("Given", "Got")
        for text in body
        if (m := re.search(rf"{word} value: (.*)", text))
    ]
    if any(text.startswith("Expected a dot import path") for text in body):
        return f"'{given[0] if given else body[-1].split()[-1]}' is neither a class nor a file; a class is written as mylab.nets.MyNet"
    subtypes = [text[len("Subtypes: [") : -1] for text in body if text.startswith("Subtypes: [")]
    kinds = [kind for text in subtypes for kind in _top_level(text)]
    kinds = kinds or [m[1] for text in body if (m := re.match(r"Expected an? (.+?)(?:\. Got value:.*)?$", text))]
    other = [text for text in body if not text.startswith((*_FRAME, "Expected a"))]
    if other or not kinds or not given:
        text = " ".join(other or [text for text in body if not text.startswith(_FRAME)])
        return f"{text} by {path}" if text.startswith("Option") else text
    return f"expected {_either([word for kind in kinds for word in _kinds(kind)])}, not '{given[0]}'"


def _kinds(text: str) -> list[str]:
    """A type in the words of whoever writes YAML."""
    text = re.sub(r"<class '([^']*)'>", r"\1", text.strip())
    if found := re.fullmatch(r"typing\.Literal\[(.*)\]", text):
        return [choice.strip("'") for choice in _top_level(found[1])]
    if found := re.fullmatch(r"tuple\[(.*), \.\.\.\]|(?:list|collections\.abc\.\w+)\[(.*)\]", text):
        return [f"list of {_either(_kinds(found[1] or found[2]))}"]
    if found := re.fullmatch(r"tuple\[(.*)\]", text):
        return [f"[{', '.join(_either(_kinds(item)) for item in _top_level(found[1]))}]"]
    if text == "bool":
        return ["true", "false"]
    if re.match(r"dict\[|collections\.abc\.Mapping", text):
        return ["mapping"]
    return [_PLAIN.get(text, text.rsplit(".", 1)[-1] if re.fullmatch(r"[\w.]+", text) else text)]


def _top_level(text: str) -> list[str]:
    """Items between commas that stand in no brackets."""
    items, depth = [""], 0
    for character in text:
        depth += (character in "[<(") - (character in "]>)")
        if character == "," and not depth:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items]


def _either(items: list[str]) -> str:
    items = list(dict.fromkeys(items))
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _short(text: str) -> str:
    return textwrap.shorten(text, _LONGEST, placeholder=" …")
