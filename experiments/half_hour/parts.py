"""What a machine without network lacks, in parts that are carried one by one: images, packages, Inception's weights.

python experiments/half_hour/parts.py pack PARTS --images FOLDER --wheels FOLDER --weights FILE --limits 36 36 36 36    # here
python experiments/half_hour/parts.py take PARTS/0 WORK                                     # there, as each part arrives
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MIB = 2**20
_KNOWN = "weights.json"  # name and size of the whole file, in the first part


def pack(parts: Path, images: Path, wheels: Path | None, weights: Path | None, limits: Sequence[float]) -> None:
    """Fill folders PARTS/0, 1, … of at most `limits` MiB: images first, then wheels, and the weights in whatever room is left."""
    files = [*sorted(images.glob("*ubyte*")), *(sorted(wheels.glob("*.whl")) if wheels else [])]
    room = [int(limit * MIB) for limit in limits]
    for i in range(len(limits)):
        (parts / str(i)).mkdir(parents=True)
    for path in files:
        size = path.stat().st_size
        i = next((i for i, left in enumerate(room) if left >= size), None)
        if i is None:
            raise SystemExit(f"{path} ({size / MIB:.1f} MiB) does not fit into any part; raise --limits")
        shutil.copyfile(path, parts / str(i) / path.name)
        room[i] -= size
    if weights:
        (parts / "0" / _KNOWN).write_text(json.dumps({"name": weights.name, "size": weights.stat().st_size}))
        content = weights.read_bytes()
        for i, left in enumerate(room):
            (parts / str(i) / f"weights.{i:02d}").write_bytes(content[:left])
            content = content[left:]
        if content:
            raise SystemExit(f"{len(content) / MIB:.1f} MiB of {weights} do not fit; raise --limits")


def take(part: Path, work: Path) -> None:
    """Install the part's wheels into WORK/site, and put images and pieces of the weights where `run.py` looks for them."""
    for name in ("site", "images", "pieces"):
        (work / name).mkdir(parents=True, exist_ok=True)
    if wheels := sorted(map(str, part.glob("*.whl"))):
        # packages that are there already, torch among them, stay as they are
        command = "pip install --quiet --no-index --no-deps --no-compile --upgrade --target"
        subprocess.run([sys.executable, "-m", *command.split(), str(work / "site"), *wheels], check=True)
    for path in part.iterdir():
        if path.suffix != ".whl":
            shutil.copyfile(path, work / ("images" if "ubyte" in path.name else "pieces") / path.name)

    _join(work)


def weights_of(work: Path) -> Path | None:
    """Where Inception's weights are, or will be once all parts have been taken; None where they were not packed."""
    known = work / "pieces" / _KNOWN
    return work / f"inception{Path(json.loads(known.read_text())['name']).suffix}" if known.exists() else None


def _join(work: Path) -> None:
    whole, pieces = weights_of(work), sorted((work / "pieces").glob("weights.[0-9]*"))
    if whole is None or whole.exists():
        return
    if sum(p.stat().st_size for p in pieces) == json.loads((work / "pieces" / _KNOWN).read_text())["size"]:
        partial = whole.with_name(f".{whole.name}")
        partial.write_bytes(b"".join(p.read_bytes() for p in pieces))
        partial.rename(whole)
        print(f"weights: {whole}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing, taking = verbs.add_parser("pack"), verbs.add_parser("take")
    packing.add_argument("parts", type=Path)
    packing.add_argument("--images", type=Path, required=True, help="folder of the four IDX files")
    packing.add_argument("--wheels", type=Path, help="folder of wheels for the other machine's Python")
    packing.add_argument("--weights", type=Path, help="a state dict of FID's Inception network, .safetensors or .pth")
    packing.add_argument("--limits", type=float, nargs="+", required=True, help="MiB of each part")
    taking.add_argument("part", type=Path)
    taking.add_argument("work", type=Path)
    options = vars(parser.parse_args(argv))
    {"pack": pack, "take": take}[options.pop("verb")](**options)


if __name__ == "__main__":
    main()
