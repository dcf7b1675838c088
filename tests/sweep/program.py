"""Stands for `fdsr fit` and `fdsr test` where only the sweep is tested: it counts to `steps` and checkpoints every step.

    program.py fit|test --config F --run DIR --KEY=VALUE …

`--fail` makes it say so in one line, `--crash` end in a traceback, `--pause` wait so many seconds after every step.
"""

import json
import sys
import time
from pathlib import Path

verb, run, values = sys.argv[1], Path(sys.argv[5]), dict(a[2:].split("=", 1) for a in sys.argv[6:])
run.mkdir(parents=True, exist_ok=True)
with (run / "calls.txt").open("a") as calls:
    print(verb, *sys.argv[6:], file=calls)
print("working", flush=True)
if json.loads(values.get("fail", "false")):
    print("fdsr: error: this one cannot be", file=sys.stderr)
    sys.exit(2)
if json.loads(values.get("crash", "false")):
    raise ValueError("out of luck")
record = json.loads((run / "run.json").read_text())  # which point this is
if verb == "fit":
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    done = int(checkpoint.read_text()) if values.get("ckpt_path") == "last" else 0
    for step in range(done + 1, int(values["steps"]) + 1):
        with (run / "steps.txt").open("a") as steps:
            print(step, file=steps)
        checkpoint.write_text(str(step))
        time.sleep(float(values.get("pause", 0)))
    record["fit"] = {"seed": 0, "steps": step, "samples_seen": 32 * step}
    with (run / "image_distances.jsonl").open("a") as file:
        for step in (1, 2):
            line = {"stage": "fit", "step": step, "classifier_frechet": 9.0 - step, "n_generated": 50}
            print(json.dumps(line), file=file)
else:
    assert "ckpt_path" not in values or Path(values["ckpt_path"]).is_file()
    nfe = int(values["model.init_args.steps"])
    facts = {"stage": "test", "step": 0, "classifier_frechet": 7.0 + nfe, "classifier_frechet_test": 8.0, "n_generated": 100,
             "seed": 0, "seconds_per_image": 0.01 * nfe, "device": "CPU, 1 threads", "commit": "abc",
             "classifier_frechet_floor": 0.25, "n_floor": 90}  # fmt: skip
    with (run / "image_distances.jsonl").open("a") as file:
        print(json.dumps(facts), file=file)
    record["test"] = {"nfe": nfe, "seed": 0, "networks": {"network": 1234, "discriminator": 99}}
    (run / "samples").mkdir(exist_ok=True)
    (run / "samples" / "test_0000000.png").write_bytes(b"picture")
    rows = "method,variable,metric,value,nfe,seed\n" + f"{record['point']['method']},t2m,crps,{nfe / 10},{nfe},0\n"
    (run / "test_metrics.csv").write_text(rows)
(run / "run.json").write_text(json.dumps(record))
