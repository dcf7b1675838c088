"""`fdsr export`: a checkpoint as a small folder that loads without the run."""

from __future__ import annotations

from fdsr.commands.options import Parser


def main(arguments: list[str]) -> None:
    """Export as `arguments` say."""
    parser = Parser("export", "Write a checkpoint's averaged weights, statistics and configuration to a folder.")
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint of a run")
    parser.add_argument("folder", metavar="FOLDER", help="folder to write; must not exist")
    options = parser.parse_args(arguments)

    from fdsr.modules import load_module, save_pretrained

    print(f"model: {save_pretrained(load_module(options.checkpoint), options.folder)}")
