"""What a run leaves behind: its folder, which names, writes and reads every file, and where results come from."""

from fdsr.records.files import JSONLines, JSONObject, NetCDF, Table
from fdsr.records.provenance import code_version, device_name
from fdsr.records.run_folder import RunFolder, join_tables
from fdsr.records.sweep_folder import FLOOR, SweepFolder

__all__ = [
    "FLOOR", "JSONLines", "JSONObject", "NetCDF", "RunFolder", "SweepFolder", "Table", "code_version", "device_name",
    "join_tables",
]  # fmt: skip
