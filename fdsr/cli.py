"""The one entry: `python -m fdsr.cli VERB`, installed as `fdsr`.

Nothing heavy is imported here: a verb that needs no training must answer --help at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from fdsr import __version__
from fdsr.errors import FdsrError

USAGE = """usage: fdsr VERB [options]      (also: python -m fdsr.cli VERB)

  fit       train a method:                     fdsr fit --config experiments/crps_sr.yaml
  validate  its loss on the validation block:   fdsr validate --config F.yaml [--ckpt_path C]
  test      its metric table and figure:        fdsr test --config F.yaml [--ckpt_path C]
  predict   an ensemble as CF Zarr or NetCDF:   fdsr predict --config F.yaml --ckpt_path C [--low STORE] [--output OUT.zarr]
  prepare   a pair store from a gridded source: fdsr prepare --help
  synthesise  unlimited fields of turbulence:   fdsr synthesise --help
  bench-data  how fast data come:               fdsr bench-data --config F.yaml, or --store STORE
  sweep     every point of a grid, one table:   fdsr sweep experiments/sweep_T_cpu.yaml
  report    one page that compares runs:        fdsr report RUN [RUN ...] [fid_vs_steps.csv]
  export    a checkpoint as a folder to share:  fdsr export CKPT FOLDER

fit, test and predict also take
  --run DIR             the run's directory (default: runs/ and the name of the configuration)
  --overwrite           replace results that exist already
  --metrics NAMES       what a test scores; +NAME is beside the usual: fdsr test --config F.yaml --metrics +weather_frechet
  --low STORE           predict from coarse fields, wherever they lie; --static STORE: the static fields there
  --region A,B,C,D      LAT_MIN,LAT_MAX,LON_MIN,LON_MAX of what to take of them
  --tile auto|off|RxC   whole fields in tiles of R × C points; auto (default): where memory asks for it
  --conserve WHEN       fine fields corrected to coarsen to the coarse ones exactly: end, steps, none; auto (default): end, but for rain
  --wandb MODE          Weights & Biases beside the run's own record, of fit and test: offline (default), online, off
  --KEY.NAME VALUE      any value of the configuration, for instance --trainer.max_steps 500
  --help                all of them
"""


_TRAINING = ("fit", "validate", "test", "predict")
# each a module of fdsr.commands
_PLAIN = ("prepare", "synthesise", "bench-data", "sweep", "report", "export")
VERBS = (*_TRAINING, *_PLAIN)


def _run(verb: str, arguments: list[str]) -> None:
    if verb in _PLAIN:
        import_module(f"fdsr.commands.{verb.replace('-', '_')}").main(arguments)
        return
    # importing torch and Lightning takes seconds
    waiting = sys.stderr.isatty()
    print("fdsr: starting …\r" if waiting else "", end="", file=sys.stderr, flush=True)
    from fdsr.training.run import run

    print("\033[K" if waiting else "", end="", file=sys.stderr, flush=True)
    run(verb, arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 after one line on standard error, or 128 and a signal's number."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        print(f"fdsr {__version__}")
        return 0
    # the home directory, which a shell does not see behind an equals sign
    arguments = [re.sub("(?<==)~(?=/)", str(Path.home()), argument) for argument in arguments]
    verb = arguments[0]
    if verb not in VERBS:
        print(f"fdsr: error: unknown verb '{verb}'; choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    # a user's own methods and networks lie where the command is given, as for `python -m`
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        _run(verb, arguments[1:])
    except FdsrError as error:
        print(f"fdsr: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fdsr: interrupted; finished work is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())
