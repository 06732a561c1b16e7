"""Applications 1, 2 and 6 on the GPU of this machine and on its CPU, in float32 and in TF32, and
convolutions as products beside cuDNN's: one table, in at most ten minutes.

    make bench-gpu
    make bench-gpu ARGS="--device cpu"                    # where there is no GPU
    make bench-gpu ARGS="--device cpu --preset smoke --steps 2"     # to see it run

Each column is a process of its own that trains each application with the default network and the
same batches for a number of steps. So objectives of all columns are equal to rounding, but for
TF32. `inverted` is the largest |f(f^-1(z)) - z| of 500 latents z of N(0, I) after the training;
in the column of TF32 once as the library inverts, in float32, and once in TF32.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bench_flows import Parser, machine  # noqa: E402

from flow_models.core.errors import UserError  # noqa: E402
from flow_models.runs.program import guarded  # noqa: E402

MODES = {"cpu": ("CPU",), "gpu": ("CPU", "GPU", "GPU, TF32")}
STEPS = {1: 600, 2: 30, 6: 600}  # about ten seconds each on two cores
SIZES = {6: {"simulations": 20_000, "validation_draws": 500, "test_draws": 100}}
LATENTS = 500
MINUTES = 9.5
ROWS = {
    "steps_per_second": ("steps a second", ",.1f"),
    "compile_seconds": ("seconds of compiling", ".1f"),
    "val_objective": ("objective", ".4f"),
    "inverted": ("inverted", ".1e"),
    "inverted_tf32": ("inverted in TF32", ".1e"),
    "products": ("products, ms", ".2f"),
    "convolutions": ("convolutions of XLA or cuDNN, ms", ".2f"),
}


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", choices=MODES, default="gpu", help="gpu: both; cpu: it alone")
    p.add_argument("--preset", default="default", help="of the applications")
    p.add_argument("--steps", type=int, help="of each training; else " + str(STEPS)[1:-1])
    p.add_argument("--apps", type=int, nargs="+", choices=STEPS, default=list(STEPS))
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


def main() -> None:
    arguments = parser().parse_args()
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps is {arguments.steps}, must be at least 1")
    if arguments.worker:
        return work(arguments)
    name, deadline = device_of(arguments.device), time.monotonic() + 60 * MINUTES
    columns = {mode: measured(mode, deadline) for mode in MODES[arguments.device]}
    here = machine()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}; {name}; {here['cpu']}, {here['cores']} cores\n")
    print("\n".join(table(columns)))
    failed = [found["error"] for found in columns.values() if "error" in found]
    if failed:
        raise UserError("; ".join(failed))


def device_of(kind: str) -> str:
    """The name of the device.

    Raises:
      UserError: it is a GPU, and TensorFlow sees none.
    """
    os.environ["DEVICE"] = kind
    from flow_models.core.startup import device

    try:
        return device()
    except UserError as error:
        why = str(error).partition("; python")[0]
        advice = "python -m flow_models doctor says more, --device cpu measures the CPU alone"
        raise UserError(f"{why}; {advice}") from None


def measured(mode: str, deadline: float) -> dict:
    """What a process of one column printed: {part: {row: value}}, and "error" where it failed."""
    print(f"measuring: {mode}", file=sys.stderr, flush=True)
    place = {**os.environ, "FLOW_MODELS_KEEP_COMPILED": "0", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    if mode == "CPU":
        place |= {"DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", mode]
    limit = max(deadline - time.monotonic(), 1)
    try:
        done = subprocess.run(command, env=place, text=True, capture_output=True, timeout=limit)
        out, said = done.stdout, (done.stderr.strip().splitlines() or ["no message"])[-1]
        error = f"{mode}: {said}" if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"").decode()
        error = f"{mode}: not ready after {MINUTES} minutes in all"
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"part"')]
    found = {line.pop("part"): line for line in lines}
    return {**found, "error": error} if error else found


def work(arguments: argparse.Namespace) -> None:
    """Measures one column, and prints a line as soon as a part is known."""
    from flow_models.core.startup import load_tensorflow, tensor_float_32

    load_tensorflow()
    import convolutions

    tf32 = "TF32" in arguments.worker
    with tensor_float_32(tf32):
        say("network of convolutions", convolutions.milliseconds())
    for app in arguments.apps:
        steps = arguments.steps or STEPS[app]
        say(f"application {app}", trained(app, arguments.preset, steps, tf32))


def say(part: str, found: dict) -> None:
    print(json.dumps({"part": part, **found}), flush=True)


def trained(app: int, preset: str, steps: int, tf32: bool) -> dict:
    """Speed, objective and error of inversion of a short training of an application."""
    from flow_models.applications.application import trainer_of
    from flow_models.runs.config import nested, replace

    application = importlib.import_module(f"train_flowmodels{app}").APPLICATION
    if preset not in application.presets:
        raise UserError(f"no preset {preset!r}; there are {', '.join(application.presets)}")
    config = nested(application.config, {**application.presets[preset], "preset": preset})
    config = replace(config, steps=steps, tf32=tf32, strategy="single", **SIZES.get(app, {}))
    problem = application.load_data(config)
    model, training = application.prepared(config, problem)
    result = trainer_of(model, training, config).run(progress=False)
    found = {**result.metrics(), "val_objective": result.history["val_objective"][-1]}
    y = training.validation["y"][:1] if model.is_posterior else None
    return found | inverted(model, y, tf32)


def inverted(model, y, tf32: bool) -> dict[str, float]:
    """Largest error of inversion in float32, and in TF32 where it is asked for."""
    import numpy as np

    from flow_models.core.startup import tensor_float_32
    from flow_models.models.passes import Passes

    def error(on: bool) -> float:
        passes = Passes(model.bijector, model.codec.tiles, model.jit)
        z = np.random.default_rng(0).normal(size=(LATENTS, model.latent_size)).astype("f")
        given = model.given_rows(model.observed(y)[0])
        with tensor_float_32(on):
            back = passes.forward(passes.inverse(z, given), given)[0]
        return float(np.abs(back.reshape(z.shape) - z).max())

    return {"inverted": error(False)} | ({"inverted_tf32": error(True)} if tf32 else {})


def table(columns: dict[str, dict]) -> list[str]:
    """Lines of Markdown: a row for each quantity of each part, a column for each process."""
    parts = list(dict.fromkeys(part for found in columns.values() for part in found))
    lines = [f"| | | {' | '.join(columns)} |", "|---|---|" + "---:|" * len(columns)]
    for part in parts:
        for row, (words, form) in ROWS.items():
            values = [found.get(part, {}) for found in columns.values() if part != "error"]
            if any(row in value for value in values):
                cells = [format(value[row], form) if row in value else "" for value in values]
                lines.append(f"| {part} | {words} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    guarded(main)
