"""Kills training runs that write to S3 at random moments, and checks that no checkpoint is lost or
damaged.

    python benchmarks/interruptions.py                # 20 kills, about ten minutes on two cores
    python benchmarks/interruptions.py --kills 3

A run of application 1 writes a checkpoint after every compiled call to the store `weed` on
loopback. SIGKILL and SIGTERM kill it in turn, and the same command starts it again each time. After
each kill the checkpoint in the store must be whole (right checksum) and not older than the one
after the previous kill. SIGTERM must end with status 75 and lose no step. In the end the history
must equal that of an uninterrupted run, and the model must load from S3.
"""

import argparse
import csv
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from flow_models.core import archive as serialisation  # noqa: E402
from flow_models.core import storage  # noqa: E402
from flow_models.core.errors import EX_TEMPFAIL  # noqa: E402

BUCKET = "interrupted"
RUN = [
    "--data",
    "moons",
    "--depth",
    "2",
    "--hidden",
    "[8, 8]",
    "--batch-size",
    "64",
    "--test-points",
    "500",
    "--jit",
    "false",
    "--eval-every-steps",
    "100",
    "--checkpoint-seconds",
    "0",
    "--mlflow",
    "false",
    "--resume",
]


def start(uri: str, steps: int) -> subprocess.Popen:
    """Starts the command, the same for a first start and for every retry."""
    command = [
        sys.executable,
        "train_flowmodels1.py",
        *RUN,
        "--steps",
        str(steps),
        "--output-dir",
        uri,
    ]
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


def kill(uri: str, steps: int, number: int, seconds: float) -> dict:
    """One session: a random time after its first checkpoint (odd numbers: after its start), then
    the signal."""
    before, process, began = checkpoint_step(uri), start(uri, steps), time.monotonic()
    while (
        process.poll() is None and time.monotonic() - began < 120 and checkpoint_step(uri) == before
    ):
        time.sleep(0.05)
    time.sleep(seconds)
    seen, sent = checkpoint_step(uri), signal.SIGTERM if number % 2 else signal.SIGKILL
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    after = checkpoint_step(uri)
    return {
        "signal": sent.name,
        "status": process.returncode,
        "before": before,
        "seen": seen,
        "after": after,
        "error": error,
    }


def history(uri: str) -> list[dict]:
    """Rows of history.csv without the times, which differ between equal runs."""
    rows = csv.DictReader(io.StringIO(storage.read_bytes(f"{uri}/history.csv").decode()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def interrupted(uri: str, kills: int, steps: int, longest: float, seed: int = 0) -> list[dict]:
    """Kills the run repeatedly and checks each (AssertionError); then lets it finish."""
    chance, sessions = random.Random(seed), []
    for number in range(kills):
        session = kill(uri, steps, number, chance.uniform(0, longest))
        sessions.append(session)
        print(
            " ".join(f"{name} {value}" for name, value in session.items() if name != "error"),
            flush=True,
        )
        assert session["before"] <= session["seen"] <= session["after"], "a checkpoint was lost"
        expected = EX_TEMPFAIL if session["signal"] == "SIGTERM" else -signal.SIGKILL
        assert session["status"] == expected, session["error"]
    last = start(uri, steps)
    _, error = last.communicate(timeout=300)
    assert last.returncode == 0, error
    return sessions


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
    given = parser.parse_args()
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="interruptions-")
    tempfile.tempdir = None
    with s3_server():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        whole, killed = f"s3://{BUCKET}/runs/whole", f"s3://{BUCKET}/runs/killed"
        sessions = interrupted(killed, given.kills, given.steps, given.longest)
        interrupted(whole, 0, given.steps, 0.0)
        assert history(whole) == history(killed), (
            "the history is not that of a run which nobody killed"
        )
        arrays = [name for name in storage.names(f"{killed}/checkpoint") if name.endswith(".npz")]
        assert len(arrays) <= 2, arrays
        import flow_models as fm

        assert (
            fm.load(killed).log_prob([[0.1, 0.2]]) == fm.load(whole).log_prob([[0.1, 0.2]])
        ).all()
    print(
        f"{len(sessions)} kills, no checkpoint lost or damaged, history and model as of a run that"
        " nobody killed"
    )


if __name__ == "__main__":
    main()
