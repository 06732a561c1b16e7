"""The first process of a container: runs a script as AWS Batch asks for it, and ends as it ends.

    python -m flow_models.aws_batch.entry train_flowmodels2.py --steps 5000 --output-dir s3://b/mine

- The child of an array job takes its setting of the sweep, and its own folder below the output.
  Its MLflow run is nested below one run of the sweep, whose table and figure a job makes that
  starts after the array.
- The child of an array of parts runs `python -m flow_models ... --part I/N` with its own I.
- A later attempt goes on where the one before stopped (--resume, which also starts a new run).
- SIGTERM is passed on to the script. So is the notice that this spot instance will be taken back:
  AWS gives it two minutes ahead to those who ask the instance for it, while AWS Batch itself lets a
  job run until its host is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from flow_models.aws_batch import COLLECT_VARIABLE, PARTS_VARIABLE, SWEEP_VARIABLE, parts
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.program import guarded
from flow_models.runs.tracking.folder import public
from flow_models.runs.tracking.parents import PARENT_VARIABLE
from flow_models.sweep import METRIC, METRIC_VARIABLE, record, space
from flow_models.sweep.record import Header

INDEX_VARIABLE = "AWS_BATCH_JOB_ARRAY_INDEX"  # number of a child of an array job
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"  # as boto3 reads it
METADATA = "http://169.254.169.254"
PAUSE = 5.0  # seconds between looks for the notice, as AWS recommends


def arguments(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command line of Python: the script, or a command in parts.

    Raises:
      UserError: no script is named, or a sweep without the number of its child.
    """
    if parts_of := environment.get(PARTS_VARIABLE):
        return parts.of_child(given, environment.get(INDEX_VARIABLE, ""), parts_of)
    if not given or not given[0].endswith(".py"):
        raise UserError(
            "the command of a job begins with a script, train_flowmodels1.py; it was"
            f" {given[:1] or 'empty'}"
        )
    known, rest = _parse(given)
    command = list(given)
    if environment.get(SWEEP_VARIABLE):
        index, setting = _child(environment)
        place = storage.join(known.output_dir, space.folder(index, setting))
        command = [given[0], *rest, "--output-dir", place, *space.flags(setting)]
        command += ["--tracking-uri", known.tracking_uri] if known.tracking_uri else []
    if not environment.get("MLFLOW_TRACKING_URI") and not known.tracking_uri:
        command.append("--mlflow=false")  # a store inside the container would be lost with it
    if int(environment.get("AWS_BATCH_JOB_ATTEMPT", 1)) > 1:
        command += [] if "--resume" in command else ["--resume"]
    return command


def _parse(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags that concern the sweep, and the other flags of the script."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output-dir", "--output_dir", default="")
    parser.add_argument("--tracking-uri", "--tracking_uri", default="")
    return parser.parse_known_args(given[1:])


def _child(environment: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """Number and setting of this child of an array job."""
    if INDEX_VARIABLE not in environment:
        raise UserError(
            f"{SWEEP_VARIABLE} is set, and {INDEX_VARIABLE} is not: a sweep is an array job"
        )
    index = int(environment[INDEX_VARIABLE])
    return index, space.settings(space.parse(environment[SWEEP_VARIABLE]))[index]


def sweep_of(given: Sequence[str], environment: Mapping[str, str]) -> tuple[str, Header] | None:
    """Place and header of the sweep that this job belongs to; None for a job without a sweep.

    All children and attempts name the same MLflow run: its key is the id of the array job.
    """
    if not environment.get(SWEEP_VARIABLE):
        return None
    known, rest = _parse(given)
    place, uri = known.output_dir, known.tracking_uri
    name = place.rpartition("/")[2]
    job = environment.get(COLLECT_VARIABLE) or environment.get("AWS_BATCH_JOB_ID", "")
    job = job.partition(":")[0] or name
    return place, Header(
        experiment=given[0].removesuffix(".py").removeprefix("train_"),
        space=environment[SWEEP_VARIABLE],
        arguments=rest,
        trials=0,
        metric=environment.get(METRIC_VARIABLE, METRIC),
        parent=f"{job} {name}",
        mlflow=bool(uri or environment.get("MLFLOW_TRACKING_URI")),
        tracking_uri=uri,
    )


def collect(place: str, header: Header) -> None:
    """Writes the sweep's table and figure, and ends its MLflow run."""
    header.write(place)
    trials = record.read_trials(place, header)
    is_complete = all(trial.metrics for trial in trials)
    record.publish(place, trials, header, "FINISHED" if is_complete else "RUNNING")


class Script:
    """A running script, told to stop at most once: a second SIGTERM would disturb its saving."""

    def __init__(self, command: Sequence[str]):
        self._process, self._told = subprocess.Popen([sys.executable, *command]), threading.Lock()

    def stop(self, *_) -> None:
        """Tells the script to save and stop."""
        if self._told.acquire(blocking=False):
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status; 128 + n if signal n ended it."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status


def run(command: Sequence[str], pause: float = PAUSE) -> int:
    """Runs the script to its end; returns its exit status."""
    script, ended = Script(command), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, script.stop)
    threading.Thread(target=_watch, args=(script, ended, pause), daemon=True).start()
    status = script.wait()
    ended.set()
    return status


def _watch(script: Script, ended: threading.Event, pause: float) -> None:
    """Stops the script when the notice comes; gives up if no metadata service ever answers."""
    answered = False
    while not ended.wait(pause):
        try:
            when, answered = notice(), True
        except (OSError, ValueError, KeyError):
            if not answered:
                return
            continue
        if when:
            print(f"this spot instance will be taken back at {when}: stopping the run", flush=True)
            script.stop()
            return


def notice() -> str | None:
    """The time at which this instance will be taken back; None while that is not planned.

    Raises:
      OSError: no metadata service answers: not on EC2, or closed to containers.
    """
    token = _ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    try:
        action = _ask("meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
    except urllib.error.HTTPError as answer:
        if answer.code == 404:
            return None
        raise
    return json.loads(action)["time"]


def _ask(what: str, method: str, headers: Mapping[str, str]) -> str:
    """The answer of the instance's metadata service."""
    root = os.environ.get(ENDPOINT_VARIABLE, METADATA).rstrip("/")
    asked = urllib.request.Request(f"{root}/latest/{what}", method=method, headers=dict(headers))
    with urllib.request.urlopen(asked, timeout=2) as answer:
        return answer.read().decode()


def main() -> None:
    """Runs the script that the arguments name, and exits with its status; or collects a sweep."""
    given, sweep = sys.argv[1:], sweep_of(sys.argv[1:], os.environ)
    if sweep and os.environ.get(COLLECT_VARIABLE):
        collect(*sweep)
        return
    command = arguments(given, os.environ)
    print("running", public(" ".join(command)), flush=True)
    if sweep:
        os.environ[PARENT_VARIABLE] = sweep[1].parent
        if os.environ[INDEX_VARIABLE] == "0":  # one is enough: sweep --show finds it from now on
            sweep[1].write(sweep[0])
    sys.exit(run(command))


if __name__ == "__main__":
    guarded(main)
