"""Kills training runs that write to S3 at random moments, and checks that nothing is lost.

    python benchmarks/interruptions.py                # 20 kills, about ten minutes on two cores
    python benchmarks/interruptions.py --shards       # the same, 20 faults beside, and a table
    python benchmarks/interruptions.py --kills 3

A run writes a checkpoint after every compiled call to the store `weed` on loopback. SIGKILL and
SIGTERM kill it in turn, and the same command starts it again each time. After each kill the
checkpoint in the store must be whole (right checksum) and not older than the one after the previous
kill. SIGTERM must end with status 75 and lose no step. In the end the history must equal that of an
uninterrupted run, and so must each bit of the model.

The run is one of application 1; with --shards it is one of application 2, which streams pictures
out of shards in that store. Another such run meets faults of the store: refused, broken off and
unanswered requests, which all pass. It must end as if there had been none.
"""

import argparse
import csv
import functools
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from flow_models.core import archive as serialisation  # noqa: E402
from flow_models.core import storage  # noqa: E402
from flow_models.core.errors import EX_TEMPFAIL  # noqa: E402

BUCKET, PAGE = "interrupted", ROOT / "doc" / "shards.md"
BEGIN, END = "<!-- bench-interruptions -->", "<!-- end-interruptions -->"
ALIKE = "--jit false --checkpoint-seconds 0 --mlflow false --resume".split()
MOONS = [
    *"train_flowmodels1.py --data moons --depth 2 --batch-size 64 --test-points 500".split(),
    *("--hidden", "[8, 8]", "--eval-every-steps", "100", *ALIKE),
]
SHARDS = [
    *(__file__, "--run", "--levels", "1", "--depth", "2", "--hidden", "[16]", "--batch-size", "16"),
    *"--score nll --background none --flip false --resamples 50 --eval-every-steps 200".split(),
    *("--measured-samples", "0", "--anomaly-uri", f"s3://{BUCKET}/other", *ALIKE),
]
PICTURES, IN_MEMORY_MB = 600, 0.02  # of 64 bytes each
FAULTS = ("InternalError", "RequestTimeout", "drop", "cut")


def start(uri: str, steps: int, run: Sequence[str] = MOONS) -> subprocess.Popen:
    """Starts the command, the same for a first start and for every retry."""
    command = [sys.executable, *run, "--steps", str(steps), "--output-dir", uri]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def checkpoint_step(uri: str) -> int:
    """Step of the checkpoint in the store, 0 if there is none yet. Raises UserError if it is
    damaged."""
    folder = f"{uri}/checkpoint"
    if not storage.exists(f"{folder}/checkpoint.json"):
        return 0
    header = serialisation.read_header(folder, "checkpoint", "checkpoint")
    serialisation.read_arrays(folder, header, "checkpoint")
    return header["step"]


def kill(uri: str, steps: int, number: int, seconds: float, run: Sequence[str] = MOONS) -> dict:
    """One session: a random time after its first checkpoint (odd numbers: after its start), then
    the signal."""
    before, process, began = checkpoint_step(uri), start(uri, steps, run), time.monotonic()
    while (
        process.poll() is None and time.monotonic() - began < 600 and checkpoint_step(uri) == before
    ):
        time.sleep(0.05)
    time.sleep(seconds)
    seen, sent = checkpoint_step(uri), signal.SIGTERM if number % 2 else signal.SIGKILL
    process.send_signal(sent)
    _, error = process.communicate(timeout=120)
    return {
        "signal": sent.name,
        "status": process.returncode,
        "before": before,
        "seen": seen,
        "after": checkpoint_step(uri),
        "error": error,
    }


def history(uri: str) -> list[dict]:
    """Rows of history.csv without the times, which differ between equal runs."""
    rows = csv.DictReader(io.StringIO(storage.read_bytes(f"{uri}/history.csv").decode()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_equal(uri: str, other: str) -> None:
    """Raises AssertionError unless history and each bit of the model are equal."""
    import flow_models as fm
    from flow_models.models.saving import arrays

    assert history(uri) == history(other) != []
    one, two = (arrays(fm.load(each)) for each in (uri, other))
    assert one.keys() == two.keys() != set()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    kept = [name for name in storage.names(f"{uri}/checkpoint") if name.endswith(".npz")]
    assert len(kept) <= 2, kept


def interrupted(
    uri: str, kills: int, steps: int, longest: float, seed: int = 0, run: Sequence[str] = MOONS
) -> list[dict]:
    """Kills the run repeatedly and checks each (AssertionError); then lets it finish."""
    chance, sessions = random.Random(seed), []
    for number in range(kills):
        session = kill(uri, steps, number, chance.uniform(0, longest), run)
        sessions.append(session)
        print(
            " ".join(f"{name} {value}" for name, value in session.items() if name != "error"),
            flush=True,
        )
        assert session["before"] <= session["seen"] <= session["after"], "a checkpoint was lost"
        expected = EX_TEMPFAIL if session["signal"] == "SIGTERM" else -signal.SIGKILL
        assert session["status"] == expected, session["error"]
    last = start(uri, steps, run)
    _, error = last.communicate(timeout=1800)
    assert last.returncode == 0, error
    return sessions


def faulted(uri: str, faults: int, steps: int, run: Sequence[str]) -> list[str]:
    """Lets a run meet faults of the store, at every eighth request; returns those that came."""
    from faulty_store import faulty

    left, asked = [FAULTS[number % len(FAULTS)] for number in range(faults)], []

    def plan(method: str, path: str) -> str | None:
        asked.append(path)
        return left.pop() if left and len(asked) % 8 == 0 else None

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    with faulty(endpoint, plan) as relay:
        os.environ["AWS_ENDPOINT_URL"] = relay.address
        try:
            interrupted(uri, 0, steps, 0.0, run=run)
        finally:
            os.environ["AWS_ENDPOINT_URL"] = endpoint
    assert not left, f"{len(left)} faults did not come"
    return relay.planted


def shards() -> list[str]:
    """Prepares shards in the store; the command of a training that streams them."""
    from test_images_files import encoded, picture

    from flow_models.core.share import WHOLE
    from flow_models.data.images import preparing
    from flow_models.data.images.layout import wanted

    with tempfile.TemporaryDirectory() as source:
        for number in range(PICTURES):
            name = f"{source}/{'ab'[number % 2]}/{number:04d}.png"
            storage.write_bytes(name, encoded(picture(number % 100)))
        for number in range(20):
            place = f"s3://{BUCKET}/other/{number}.png"
            storage.write_bytes(place, encoded(picture(number)))
        preparing.SHARD_BYTES = 8 * 8 * 8  # so that not all shards are kept in memory
        asked = preparing.Preparation(source, wanted(None, None, "center"))
        preparing.prepare(asked, f"s3://{BUCKET}/shards", WHOLE, progress=False)
    return [*SHARDS, "--train-uri", f"s3://{BUCKET}/shards"]


def run_streaming(arguments: list[str]) -> None:
    """Application 2 on a machine with too little memory for the pictures."""
    import train_flowmodels2
    from flow_models.applications.pictures import sets

    sets.open_images = functools.partial(sets.open_images, memory_limit_mb=IN_MEMORY_MB)
    sys.argv[1:] = arguments
    import flow_models as fm

    fm.run(train_flowmodels2.APPLICATION)


def page(sessions: list[dict], planted: list[str], steps: int) -> str:
    from mapping import machine

    lines = [
        f"`python benchmarks/interruptions.py {' '.join(sys.argv[1:])}`, {machine()}: application 2"
        f" streams {PICTURES:,} pictures out of shards in a real S3 server, {steps:,} steps.",
        "",
        "| | how often | how it ended | the checkpoint | history and model |",
        "|---|---|---|---|---|",
    ]
    for name, meaning in (("SIGKILL", "at once"), ("SIGTERM", f"status {EX_TEMPFAIL}")):
        some = [each for each in sessions if each["signal"] == name]
        moved = f"whole each time, from step {some[0]['before']:,} to {some[-1]['after']:,}"
        lines += [f"| {name} | {len(some)} | {meaning} | {moved} | equal, bit by bit |"]
    kinds = ", ".join(sorted(set(planted)))
    lines += [f"| {kinds} | {len(planted)} | status 0 | | equal, bit by bit |"]
    return "\n".join(lines)


def main() -> None:
    import boto3
    from servers import s3_server

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument(
        "--longest", type=float, default=2.0, help="seconds after a session's first checkpoint"
    )
    parser.add_argument(
        "--shards", action="store_true", help="a training out of shards, and faults"
    )
    given = parser.parse_args()
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="interruptions-")
    tempfile.tempdir = None
    with s3_server():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        whole, killed, met = (f"s3://{BUCKET}/runs/{n}" for n in ("whole", "killed", "faults"))
        run = shards() if given.shards else MOONS
        interrupted(whole, 0, given.steps, 0.0, run=run)
        planted = faulted(met, 20, given.steps, run) if given.shards else []
        sessions = interrupted(killed, given.kills, given.steps, given.longest, run=run)
        assert_equal(killed, whole)
        if given.shards:
            assert_equal(met, whole)
            text = page(sessions, planted, given.steps)
            print(text)
            block = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
            PAGE.write_text(block.sub(lambda _: f"{BEGIN}\n{text}\n{END}", PAGE.read_text()))
    print(
        f"{len(sessions)} kills, no checkpoint lost or damaged, history and model as of a run that"
        " nobody killed"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_streaming(sys.argv[2:])
    else:
        main()
