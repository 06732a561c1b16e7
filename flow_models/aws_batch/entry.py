"""The first process of a container: starts a script with what AWS Batch has told this job, and ends
as it ended.

    python -m flow_models.aws_batch.entry train_flowmodels2.py --steps 5000 --output-dir s3://bucket/runs/mine

- The child of an array job gets its setting of the sweep, and a folder of its own below the output.
Its run in MLflow is
  nested below one run for all, and when it has ended it brings table and figure of the sweep up to
  date.
- A further attempt goes on where the one before stopped (--resume, which begins a run that had not
begun).
- SIGTERM goes on to the script. So does the notice that this spot instance will be taken back,
which AWS gives two
  minutes ahead to those who ask the instance for it; AWS Batch itself lets a job run on until its
  host is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from flow_models.aws_batch import SWEEP_VARIABLE
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.config import guarded
from flow_models.runs.tracking.parents import PARENT_VARIABLE
from flow_models.sweep import METRIC, METRIC_VARIABLE, grid

METADATA = (  # AWS_EC2_METADATA_SERVICE_ENDPOINT, as for boto3, names another
    "http://169.254.169.254"
)
PAUSE = 5.0  # seconds between looks for the notice, as AWS recommends
# times that the table of a sweep is made anew, about: each time it reads the metrics of all
# children
OFTEN = 100


def arguments(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command line of the script.

    Raises:
      UserError: no script is named, or a sweep without the number of its child.
    """
    if not given or not given[0].endswith(".py"):
        raise UserError(
            "the command of a job begins with a script, train_flowmodels1.py; it was"
            f" {given[:1] or 'empty'}"
        )
    command = list(given)
    if environment.get(SWEEP_VARIABLE):
        command = _of_child(command, environment)
    if not environment.get("MLFLOW_TRACKING_URI") and not _has(command, "--tracking-uri"):
        command.append("--mlflow=false")  # a store inside the container would go with it
    if int(environment.get("AWS_BATCH_JOB_ATTEMPT", 1)) > 1:
        command.append("--resume")
    return command


def _of_child(command: list[str], environment: Mapping[str, str]) -> list[str]:
    if "AWS_BATCH_JOB_ARRAY_INDEX" not in environment:
        raise UserError(
            f"{SWEEP_VARIABLE} is set, and AWS_BATCH_JOB_ARRAY_INDEX is not: a sweep is an"
            " array job"
        )
    index = int(environment["AWS_BATCH_JOB_ARRAY_INDEX"])
    chosen = grid.setting(grid.parse(environment[SWEEP_VARIABLE]), index)
    place = _value(command, "--output-dir")
    own = [
        storage.join(each, grid.folder(index, chosen)) if each == place else each
        for each in command
    ]
    return own + grid.flags(chosen)


def sweep_of(given: Sequence[str], environment: Mapping[str, str]) -> tuple[str, dict] | None:
    """The place of the sweep that this child belongs to, and its header as in sweep.yaml; None of a
    job that is no array.

    All children and attempts name the same run above them: its key is the id of the array job.
    """
    if not environment.get(SWEEP_VARIABLE):
        return None
    place, uri = _value(given, "--output-dir") or "", _given(given, "--tracking-uri")
    job = environment.get("AWS_BATCH_JOB_ID", "").partition(":")[0] or place.rpartition("/")[2]
    return place, {
        "experiment": given[0].removesuffix(".py").removeprefix("train_"),
        "space": environment[SWEEP_VARIABLE],
        "arguments": [each for each in given[1:] if each not in ("--output-dir", place)],
        "trials": 0,
        "metric": environment.get(METRIC_VARIABLE, METRIC),
        "parent": f"{job} {place.rpartition('/')[2]}",
        "mlflow": bool(uri or environment.get("MLFLOW_TRACKING_URI")),
        "tracking_uri": uri,
    }


def conclude(place: str, header: dict, index: int) -> None:
    """Table and figure of the sweep as this child finds them; those who come last see all."""
    from flow_models.sweep import results, shown

    settings = list(enumerate(grid.settings(grid.parse(header["space"]))))
    if len(settings) - 1 != index and index % max(len(settings) // OFTEN, 1):
        return
    shown.write_header(place, header)
    trials, ended = results.collect(place, settings), -1
    while ended != (
        ended := sum(bool(trial.metrics) for trial in trials)
    ):  # another child may have ended meanwhile
        shown.publish(place, trials, header, "FINISHED" if ended == len(trials) else "RUNNING")
        trials = results.collect(place, settings)


def _given(command: Sequence[str], flag: str) -> str:
    """The value of a flag in either form, "" where it is not there."""
    joined = [each.partition("=")[2] for each in command if each.startswith(f"{flag}=")]
    return joined[-1] if joined else _value(command, flag) or ""


def _value(command: Sequence[str], flag: str) -> str | None:
    """The value that follows a flag."""
    return next((command[i + 1] for i, each in enumerate(command[:-1]) if each == flag), None)


def _has(command: Sequence[str], flag: str) -> bool:
    return any(each == flag or each.startswith(f"{flag}=") for each in command)


class Script:
    """The running script, told to stop at most once: a second SIGTERM would disturb the saving that
    the first began."""

    def __init__(self, command: Sequence[str]):
        self._process, self._told = subprocess.Popen([sys.executable, *command]), threading.Lock()

    def stop(self, *_) -> None:
        if self._told.acquire(blocking=False):
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status, 128 + n where signal n ended it."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status


def run(command: Sequence[str], pause: float = PAUSE) -> int:
    """Runs the script to its end; its exit status."""
    script, ended = Script(command), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, script.stop)
    threading.Thread(target=_watch, args=(script, ended, pause), daemon=True).start()
    status = script.wait()
    ended.set()
    return status


def _watch(script: Script, ended: threading.Event, pause: float) -> None:
    """Stops the script when the notice comes; where no metadata service ever answered there is
    nothing to watch."""
    answered = False
    while not ended.wait(pause):
        try:
            when, answered = notice(), True
        except (OSError, ValueError, KeyError):
            if not answered:
                return
            continue
        if when:
            print(
                f"this spot instance will be taken back at {when}: the run is told to save and"
                " stop",
                flush=True,
            )
            script.stop()
            return


def notice() -> str | None:
    """When this instance will be taken back, None while that is not planned.

    Raises:
      OSError: no metadata service answers: not on EC2, or closed to containers.
    """
    root = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    asked = urllib.request.Request(
        f"{root}/latest/api/token",
        method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
    )
    with urllib.request.urlopen(asked, timeout=2) as answer:
        token = answer.read().decode()
    asked = urllib.request.Request(
        f"{root}/latest/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token}
    )
    try:
        with urllib.request.urlopen(asked, timeout=2) as answer:
            return json.load(answer)["time"]
    except urllib.error.HTTPError as answer:
        if answer.code == 404:
            return None
        raise


def main() -> None:
    command, sweep = arguments(sys.argv[1:], os.environ), sweep_of(sys.argv[1:], os.environ)
    print("running", " ".join(command), flush=True)
    if sweep:
        os.environ[PARENT_VARIABLE] = sweep[1]["parent"]
    status = run(command)
    if sweep and status == 0:
        try:
            conclude(*sweep, int(os.environ["AWS_BATCH_JOB_ARRAY_INDEX"]))
        except Exception as error:  # whatever it is: the run itself is done, and its folder whole
            print(
                f"warning: the table of the sweep was not brought up to date: {error}",
                file=sys.stderr,
            )
    sys.exit(status)


if __name__ == "__main__":
    guarded(main)
