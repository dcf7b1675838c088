"""`fdsr bench-data`: how fast a store's data come, and how long a model waits for them."""

from __future__ import annotations

from fdsr.commands.options import Parser, not_negative, positive, sides

DESCRIPTION = """Measure samples/s and MB/s of a pair store's readers and batches, and the share of time that a model waits for
data."""


def main(arguments: list[str]) -> None:
    """Measure as `arguments` say."""
    more = "With --config, further --data.NAME VALUE and --model.NAME VALUE change the configuration."
    parser = Parser("bench-data", DESCRIPTION, epilog=more)
    parser.add_argument("--config", default=None, help="configuration whose data and model are measured")
    parser.add_argument("--store", default=None, help="or a pair store, with a small U-Net")
    parser.add_argument("--patch", default=None, type=sides, metavar="ROWS,COLUMNS",
                        help="with --store: training patches (default: whole fields)")  # fmt: skip
    parser.add_argument("--batch-size", default=None, type=positive, help="with --store (default 16)")
    parser.add_argument("--batches", default=50, type=positive, help="batches to time (default 50)")
    parser.add_argument("--steps", default=30, type=not_negative, help="training steps to time; 0: none (default 30)")
    options, rest = parser.parse_known_args(arguments)
    if (options.config is None) == (options.store is None):
        parser.error("give either --config or --store")
    if options.config and (options.patch or options.batch_size):
        parser.error(
            "--patch and --batch-size go with --store; with --config they are --data.patch and --data.batch_size"
        )
    if rest and options.config is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")

    from fdsr.bench import bench_data as bench

    module, data = (
        bench.from_config(["--config", options.config, *rest])
        if options.config
        else bench.from_store(options.store, options.patch, options.batch_size or 16)
    )
    print(bench.bench_data(module, data, options.batches, options.steps))
