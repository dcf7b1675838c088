"""The one error a user is meant to read, and how a parser's message becomes a line of it."""

import re


class FdsrError(Exception):
    """A condition the user can mend, told in one line: what is wrong, where, and the mend.

    The command line prints the message alone and exits with status 2; library callers catch it like any exception.
    """


# what jsonargparse says around the reason: that a class or a Union was tried, and what value was met
_FRAME = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
    "Problem with given class_path",
)


def parser_reason(message: str) -> str:
    """The reason in a parser's message of many lines, and the setting that it is about, its keys joined by dots."""
    keys: list[str] = []
    reasons: list[str] = []
    for line in (line.strip(" -") for line in message.splitlines()):
        if found := re.fullmatch(r'Parser key "([^"]*)":(.*)', line):
            keys.append(found[1])
            line = found[2].strip()
        if line and not line.startswith(_FRAME) and line not in reasons:
            reasons.append(line)
    reason = re.sub(r"<class '([^']*)'>|typing\.(?=Literal)", r"\1", "; ".join(reasons))[:600] or "not understood"
    return f"{'.'.join(keys)}: {reason}" if keys else reason
