"""Sends a training run to AWS Batch, after checking all that can be checked here."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flow_models.aws_batch import COLLECT_VARIABLE, SWEEP_VARIABLE, Names, fitting, image, watch
from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.aws_batch.fitting import Size
from flow_models.core.errors import UserError
from flow_models.runs import scripts
from flow_models.runs.tracking.folder import public
from flow_models.sweep import METRIC, METRIC_VARIABLE, space

_RESERVED = (*scripts.OF_A_RUN, "--strategy")
_WHY = (
    "a job has no file of this machine, and its place (OUTPUT=s3://...), its strategy (NODES=) and"
    " its resuming (RESUME=1) are set for it"
)
OF_PICTURES = ("2", "3")  # applications that a GPU makes faster; small networks gain nothing
LEAST_SECONDS = 60  # of a time limit, by AWS Batch


@dataclass(frozen=True)
class Job:
    """A job as the user asks for it: application, flags of its script, and machines.

    Raises:
      UserError: settings that no job can have.
    """

    app: str
    """number of the application"""
    arguments: tuple[str, ...] = ()
    device: str = "gpu"
    nodes: int = 1
    """machines of one run"""
    sweep: str = ""
    """what is varied, for example "seed=0,1,2 depth=3,5", with a job for each setting"""
    metric: str = METRIC
    """the metric in metrics.json that compares the settings"""
    name: str = ""
    """also the name of the run; empty: application and time"""
    output: str = ""
    """s3:// place of the run; empty: runs/<application>/<name> in the bucket of the stack"""
    gpus: int = 0
    vcpus: int = 0
    memory: int = 0
    """of each machine, in MiB; 0, here and for gpus and vcpus, means as deployed"""
    timeout: int = 0
    """seconds after which an attempt is told to save and ended; 0 means as deployed"""
    resume: bool = False
    """go on with the run of this name or output from its checkpoint"""
    share: str = ""
    """on whose account it waits: those who used least come first; empty: the user"""

    def __post_init__(self):
        if self.nodes < 1 or min(self.gpus, self.vcpus, self.memory) < 0:
            raise UserError(
                f"{self.nodes} nodes, {self.gpus} GPUs, {self.vcpus} vCPUs, {self.memory} MiB:"
                " too few"
            )
        if self.timeout and self.timeout < LEAST_SECONDS:
            raise UserError(f"TIMEOUT={self.timeout}: at least {LEAST_SECONDS} seconds, or none")
        if self.resume and not (self.name or self.output):
            raise UserError("RESUME=1 needs NAME= or OUTPUT= of the run to go on with")
        if self.sweep and self.nodes > 1:
            raise UserError(
                "each job of a sweep runs on one machine (AWS Batch has no array of jobs on"
                " several): NODES=1"
            )
        if self.name and not re.fullmatch(r"[A-Za-z0-9][\w-]{0,127}", self.name):
            raise UserError(f"name '{self.name}': up to 128 of a-z, A-Z, 0-9, - and _")
        if self.gpus and self.device == "cpu":
            raise UserError(f"{self.gpus} GPUs for a job on CPUs: DEVICE=gpu")
        if not re.fullmatch(r"[A-Za-z0-9]{0,255}", self.share):
            raise UserError(f"SHARE={self.share}: letters and digits, up to 255")
        if self.output and not re.match(r"s3://[^/]+", self.output):
            raise UserError(
                f"output '{self.output}': the machine of a job is gone with the job; give an s3://"
                " place"
            )

    @property
    def experiment(self) -> str:
        """The MLflow experiment of the run."""
        return f"flowmodels{self.app}"

    @property
    def size_of_machine(self) -> Size:
        """What it asks of each machine."""
        return Size(self.vcpus, self.memory, self.gpus)

    @property
    def size(self) -> int:
        """The number of settings; 1 without a sweep."""
        return space.size(space.parse(self.sweep), least=2) if self.sweep else 1


def submit(aws: Aws, stack: str, job: Job) -> str:
    """Sends the job and prints where to see it; returns its id, "" in a dry run.

    Raises:
      UserError: wrong flags; no stack, queue or image; or AWS refuses.
    """
    check_arguments(job)
    parts = stacks.outputs(aws, stack)
    if not aws.dry:
        image.require(aws, stack, job.device)
    now = datetime.datetime.now(datetime.UTC)
    name = job.name or f"{job.experiment}-{now:%Y%m%d-%H%M%S}"
    output = (job.output or f"s3://{parts['Bucket']}/runs/{job.experiment}/{name}").rstrip("/")
    ours = f"s3://{parts['Bucket']}/"
    if output.startswith(ours) and not output.startswith(f"{ours}runs/"):
        raise UserError(f"{output}: of this bucket jobs may write {ours}runs/... alone")
    if job.nodes > 1:
        _require_route(stack, parts)
    if job.resume:
        _require_run(aws, output)
    fitting.require(aws, stack, job.device, job.size_of_machine, job.nodes)
    job_id = sent(aws, request(job, Names(stack), name, output)).get("jobId", "")
    if job_id:
        _tell(aws, stack, job, job_id, name, output, parts["TrackingUri"])
    if job.sweep:
        sent(aws, collector(job, Names(stack), name, output, job_id or "the-array-job"))
    return job_id


def sent(aws: Aws, asked: dict) -> dict:
    """The answer of AWS Batch to a job."""
    try:
        return aws.call("batch", "submit_job", **asked)
    except AwsError as error:
        if re.search("queue", str(error), re.IGNORECASE) and error.code == "ClientException":
            raise UserError(
                f"no queue '{asked['jobQueue']}' in {aws.region} that takes jobs: make"
                f" batch-deploy ({error})"
            ) from error
        raise


def _require_route(stack: str, parts: Mapping[str, str]) -> None:
    """Raises UserError where the containers of several machines have no way to S3."""
    if parts.get("NodeSubnets", "none") == "none":
        raise UserError(
            f"stack '{stack}' has no subnets for jobs of several machines, whose containers get no"
            " public address: make batch-deploy NODE_SUBNETS=subnet-..., or NODES=1"
        )


def _require_run(aws: Aws, output: str) -> None:
    """Raises UserError where nothing lies that a job could go on with."""
    bucket, _, key = output.removeprefix("s3://").partition("/")
    found = aws.call("s3", "list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
    if not aws.dry and not found.get("KeyCount"):
        raise UserError(f"RESUME=1: there is no run in {output}; NAME= or OUTPUT= names it")


def request(job: Job, names: Names, name: str, output: str) -> dict:
    """The parameters of SubmitJob."""
    several = job.nodes > 1
    asked = {
        "jobName": name,
        "jobQueue": names.queue(job.device, several),
        "jobDefinition": names.queue(job.device, several),
        "shareIdentifier": job.share or re.sub("[^A-Za-z0-9]", "", watch.user()) or "everyone",
        "propagateTags": True,
        "tags": {"project": "flow_models", "application": job.experiment},
    }
    if job.timeout:
        asked["timeout"] = {"attemptDurationSeconds": job.timeout}
    overrides = _overrides(job, output)
    if several:
        every = {"targetNodes": "0:", "containerOverrides": overrides}
        return asked | {"nodeOverrides": {"numNodes": job.nodes, "nodePropertyOverrides": [every]}}
    array = {"arrayProperties": {"size": job.size}} if job.sweep else {}
    return asked | {"containerOverrides": overrides} | array


def collector(job: Job, names: Names, name: str, output: str, array: str) -> dict:
    """The parameters of SubmitJob for the job that collects the results of a sweep, once."""
    asked = request(dataclasses.replace(job, resume=False), names, f"{name[:120]}-results", output)
    del asked["arrayProperties"]
    asked["containerOverrides"]["environment"] += [{"name": COLLECT_VARIABLE, "value": array}]
    return asked | {"dependsOn": [{"jobId": array}]}


def _overrides(job: Job, output: str) -> dict:
    """What the container of the job gets besides its definition."""
    command = [f"train_flowmodels{job.app}.py", *job.arguments, "--output-dir", output]
    if job.nodes > 1:
        command += ["--strategy", "multiworker"]
    command += ["--resume"] if job.resume else []
    overrides: dict = {"command": command}
    wanted = {"GPU": job.gpus, "VCPU": job.vcpus, "MEMORY": job.memory}
    if any(wanted.values()):
        overrides["resourceRequirements"] = [
            {"type": kind, "value": str(count)} for kind, count in wanted.items() if count
        ]
    if job.sweep:
        told = {SWEEP_VARIABLE: job.sweep}
        if job.metric != METRIC:
            told[METRIC_VARIABLE] = job.metric
        overrides["environment"] = [{"name": name, "value": value} for name, value in told.items()]
    return overrides


def check_arguments(job: Job) -> None:
    """Tries the flags on the script's own settings: a mistake here starts no machine.

    Raises:
      UserError: no such application, a flag that it does not take, or a file of this machine.
    """
    varied = space.parse(job.sweep) if job.sweep else {}
    space.try_settings(job.app, job.arguments, varied, _RESERVED, _WHY)
    if job.sweep:
        space.size(varied, least=2)
    refuse_of_this_machine(job.arguments)


def refuse_of_this_machine(arguments: Sequence[str]) -> None:
    """Raises UserError for a file of this machine, and for a user and password."""
    for value in arguments:
        if public(value) != value:
            raise UserError(
                f"{public(value)}: DescribeJobs and the log would show the user and password left"
                " out here: make batch-deploy TRACKING_URI= TRACKING_SECRET=arn:..."
            )
        is_place = re.search(r"[/.]", value) and not value.startswith(("--", "s3://"))
        if is_place and Path(value).exists():
            raise UserError(
                f"{value} lies on this machine, where the job is not: put it into S3 and give its"
                " s3:// place"
            )


def _tell(
    aws: Aws, stack: str, job: Job, job_id: str, name: str, output: str, tracking: str
) -> None:
    """Prints where the job, its run and its MLflow run can be seen."""
    machines = f"{job.nodes} machines" if job.nodes > 1 else "one machine"
    kind = f"{job.size} settings" if job.sweep else machines
    console = f"https://{aws.region}.console.aws.amazon.com/batch/home?region={aws.region}"
    trials = "/<number>-<setting>; trials.csv once all have succeeded" if job.sweep else ""
    below = ", with a run for each setting below it" if job.sweep else ""
    run = f"{tracking}, experiment {job.experiment}, run {name}{below}"
    print(f"submitted {name} on {kind} ({job.device}): {job_id}")
    print(f"  job     {console}#jobs/detail/{job_id}")
    print(f"  run     {output}{trials}")
    none = "no server was deployed with TRACKING_URI="
    print(f"  MLflow  {none if tracking == 'none' else run}")
    print(f"  see     make batch-status JOB={job_id} STACK={stack}; also batch-logs, batch-cancel")
