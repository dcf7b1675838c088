"""`fdsr export`: a checkpoint as a small folder that loads without the run, and that a hub takes as it is."""

from __future__ import annotations

from pathlib import Path

from fdsr.commands.options import Parser

DESCRIPTION = """Write a checkpoint's averaged weights (safetensors), its kind, statistics and configuration to one folder, with a licence
and a model card that has the scores of the run's test. fdsr.load reads it, from a disk or from the Hugging Face hub: upload it with
`hf upload ORG/NAME FOLDER`."""


def main(arguments: list[str]) -> None:
    """Export as `arguments` say."""
    parser = Parser("export", DESCRIPTION)
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint of a run, or a model folder")
    parser.add_argument("folder", metavar="FOLDER", help="folder to write; must not exist")
    parser.add_argument(
        "--name", default=None, help="what the model is called, ORG/NAME on the hub (default: the folder's)"
    )
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights, by its SPDX name (default Apache-2.0)")
    parser.add_argument(
        "--attribution",
        default=None,
        metavar="TEXT",
        help="what the makers of the training data are owed, in words (default: what the data themselves say)",
    )
    options = parser.parse_args(arguments)

    from fdsr.data.attribution import in_words
    from fdsr.modules import load_module, save_pretrained
    from fdsr.modules.card import model_card
    from fdsr.modules.identity import model_fingerprint
    from fdsr.records import RunFolder

    module = load_module(options.checkpoint)
    # checkpoints stand in a folder of their own in that of the run
    run = RunFolder(Path(options.checkpoint).resolve().parent.parent)
    of_run = Path(options.checkpoint).is_file()
    rows, distances = (run.table.read(), run.tested_distances()) if of_run else ([], None)
    tested = run.record.read().get("test", {}).get("weights")  # earlier versions of fdsr did not note it
    others = bool(rows or distances) and tested is not None and tested != model_fingerprint(module)
    rows, distances = ([], None) if others else (rows, distances)
    scores = run.table if rows else run.distances if distances else None
    name = options.name or Path(options.folder).name
    attribution = options.attribution
    if attribution is None:
        attribution = in_words(getattr(module.home, "owed", None))
    beside = {
        "README.md": model_card(module, name, options.licence, rows, attribution, distances),
        "LICENSE": f"Weights of {name}: {options.licence}, https://spdx.org/licenses/{options.licence}.html\n"
        + (f"Training data: {attribution}\n" if attribution else ""),
    }
    if rows:
        beside[run.table.path.name] = run.table.path.read_text(encoding="utf-8")
    print(f"model: {save_pretrained(module, options.folder, beside)}")
    why = "those of the run's last test are of other weights; " if others else ""
    print(
        "scores: " + (f"of {scores}" if scores else f"none; {why}test the run first (fdsr test), and export it again")
    )
    print(
        "attribution: "
        + (attribution or "none is known; --attribution TEXT says what the training data's makers are owed")
    )
