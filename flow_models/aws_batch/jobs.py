"""Sending a training run to AWS Batch, after all has been checked here that can be."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from flow_models.aws_batch import SWEEP_VARIABLE, Names, image
from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import UserError
from flow_models.runs import scripts
from flow_models.sweep import METRIC, METRIC_VARIABLE
from flow_models.sweep import grid as sweeps

_RESERVED = (*scripts.OF_A_RUN, "--strategy")


@dataclass(frozen=True)
class Job:
    """What is asked for: application, flags of its script, and machines."""

    app: str
    arguments: tuple[str, ...] = ()
    device: str = "gpu"
    nodes: int = 1
    sweep: str = ""
    """varied settings, for example "seed=0,1,2 depth=3,5": a job each"""
    metric: str = METRIC
    """of metrics.json, by which the settings are compared"""
    name: str = ""
    """also the name of the run; empty: application and time"""
    output: str = ""
    """where the run is kept, s3://...; empty: runs/<application>/<name> in the bucket of the
    stack"""
    gpus: int = 0
    vcpus: int = 0
    memory: int = 0
    """MiB; 0: as deployed, the same for gpus and vcpus"""

    def __post_init__(self):
        if self.nodes < 1 or min(self.gpus, self.vcpus, self.memory) < 0:
            raise UserError(
                f"{self.nodes} nodes, {self.gpus} GPUs, {self.vcpus} vCPUs, {self.memory} MiB:"
                " too few"
            )
        if self.sweep and self.nodes > 1:
            raise UserError(
                "a sweep is of jobs on one machine each (AWS Batch has no array of jobs on"
                " several): NODES=1"
            )
        if self.name and not re.fullmatch(r"[A-Za-z0-9][\w-]{0,127}", self.name):
            raise UserError(f"name '{self.name}': up to 128 of a-z, A-Z, 0-9, - and _")
        if self.gpus and self.device == "cpu":
            raise UserError(f"{self.gpus} GPUs of a job on CPUs: DEVICE=gpu")
        if self.output and not re.match(r"s3://[^/]+", self.output):
            raise UserError(
                f"output '{self.output}': the machine of a job is gone with the job; give an s3://"
                " place"
            )


def submit(aws: Aws, stack: str, job: Job) -> str:
    """Sends the job and prints where to see it; its id, "" of a dry run.

    Raises:
      UserError: wrong flags, no stack, no queue, no image, or what AWS refuses.
    """
    check_arguments(job)
    parts = stacks.outputs(aws, stack)
    if not aws.dry:
        image.check(aws, stack, job.device)
    name = (
        job.name
        or f"flowmodels{job.app}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}"
    )
    output = (job.output or f"s3://{parts['Bucket']}/runs/flowmodels{job.app}/{name}").rstrip("/")
    try:
        answer = aws.call("batch", "submit_job", **request(job, Names(stack), name, output))
    except AwsError as error:
        if re.search("queue", str(error), re.IGNORECASE) and error.code == "ClientException":
            queue = Names(stack).queue(job.device, job.nodes > 1)
            raise UserError(
                f"no queue '{queue}' in {aws.region} that takes jobs: make batch-deploy ({error})"
            ) from error
        raise
    if aws.dry:
        return ""
    _tell(aws, stack, job, answer["jobId"], name, output, parts["TrackingUri"])
    return answer["jobId"]


def request(job: Job, names: Names, name: str, output: str) -> dict:
    """The parameters of SubmitJob."""
    several = job.nodes > 1
    command = [f"train_flowmodels{job.app}.py", *job.arguments, "--output-dir", output]
    overrides = {"command": command + (["--strategy", "multiworker"] if several else [])}
    wanted = {"GPU": job.gpus, "VCPU": job.vcpus, "MEMORY": job.memory}
    if any(wanted.values()):
        overrides["resourceRequirements"] = [
            {"type": k, "value": str(v)} for k, v in wanted.items() if v
        ]
    if job.sweep:
        told = {SWEEP_VARIABLE: job.sweep} | (
            {METRIC_VARIABLE: job.metric} if job.metric != METRIC else {}
        )
        overrides["environment"] = [{"name": name, "value": value} for name, value in told.items()]
    asked = {
        "jobName": name,
        "jobQueue": names.queue(job.device, several),
        "jobDefinition": names.queue(job.device, several),
        "propagateTags": True,
        "tags": {"project": "flow_models", "application": f"flowmodels{job.app}"},
    }
    if several:
        every = {"targetNodes": "0:", "containerOverrides": overrides}
        return asked | {"nodeOverrides": {"numNodes": job.nodes, "nodePropertyOverrides": [every]}}
    array = (
        {"arrayProperties": {"size": sweeps.count(sweeps.parse(job.sweep))}} if job.sweep else {}
    )
    return asked | {"containerOverrides": overrides} | array


def check_arguments(job: Job) -> None:
    """Tries the flags on the script's own settings here: a mistake costs a second, and not the
    start of a machine.

    Raises:
      UserError: no such application, or a flag that it does not take, as the script itself would
      say it.
    """
    script = scripts.load(job.app)
    grid = sweeps.parse(job.sweep) if job.sweep else {}
    scripts.refuse(
        [*job.arguments, *(f"--{name}" for name in grid)],
        _RESERVED,
        "a job has no file of this machine, and its place (OUTPUT=s3://...), its strategy (NODES=)"
        " and its resuming are set for it",
    )
    for value in job.arguments:
        if (
            re.search(r"[/.]", value)
            and not value.startswith(("--", "s3://"))
            and Path(value).exists()
        ):
            raise UserError(
                f"{value} lies on this machine, where the job is not: put it into S3 and give its"
                " s3:// place"
            )
    trials = [sweeps.flags({name: value}) for name, values in grid.items() for value in values] or [
        []
    ]
    for trial in trials:
        scripts.settings(script, [*job.arguments, *trial])


def _tell(
    aws: Aws, stack: str, job: Job, job_id: str, name: str, output: str, tracking: str
) -> None:
    size = sweeps.count(sweeps.parse(job.sweep)) if job.sweep else 1
    kind = (
        f"{size} settings"
        if job.sweep
        else f"{job.nodes} machines"
        if job.nodes > 1
        else "one machine"
    )
    print(f"submitted {name} on {kind} ({job.device}): {job_id}")
    print(
        "  job    "
        f" https://{aws.region}.console.aws.amazon.com/batch/home?region={aws.region}#jobs/detail/{job_id}"
    )
    print(f"  run     {output}{'/<number>-<setting>, and trials.csv of all' if job.sweep else ''}")
    run = (
        f"experiment flowmodels{job.app}, run"
        f" {name}{', with a run a setting below it' if job.sweep else ''}"
    )
    print(
        "  MLflow "
        f" {f'{tracking}, {run}' if tracking != 'none' else 'no server was deployed with TRACKING_URI='}"
    )
    print(f"  see     make batch-status JOB={job_id} STACK={stack}; also batch-logs, batch-cancel")
