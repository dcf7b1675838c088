"""Sources: opening any gridded store, picking channels from it."""

from fdsr.data.making.sources.channels import Channel, parse_channels, require_variables, resolve
from fdsr.data.making.sources.identity import source_identity
from fdsr.data.making.sources.opening import Source, View, name_of, open_source
from fdsr.data.making.sources.remote import patiently, reported

__all__ = [
    "Channel", "Source", "View", "name_of", "open_source", "parse_channels", "patiently", "reported", "require_variables", "resolve",
    "source_identity",
]  # fmt: skip
