"""Sends a command that takes --part I/N to AWS Batch, as an array job with a child a part."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flow_models.aws_batch import PARTS_VARIABLE, Names, fitting, image, jobs
from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws
from flow_models.core.errors import UserError
from flow_models.sweep.space import MOST


@dataclass(frozen=True)
class Parts:
    """A command in parts.

    Attributes:
      command: words after `python -m flow_models`, without --part.
      output: where it writes.
      parts: how many.
      vcpus, memory, timeout: of each part, as in `Job`; share too.

    Raises:
      UserError: what no job can have.
    """

    command: tuple[str, ...]
    output: str
    parts: int
    device: str = "cpu"
    name: str = ""
    vcpus: int = 0
    memory: int = 0
    timeout: int = 0
    share: str = ""

    def __post_init__(self):
        if not 2 <= self.parts <= MOST:
            raise UserError(f"{self.parts:,} parts: an array job has 2 to {MOST:,}")
        jobs.refuse_of_this_machine(self.command)
        if not self.output.startswith("s3://"):
            raise UserError(
                f"{self.output}: the machine of a job is gone with the job; give an s3:// place"
            )
        self.job(self.name)

    def job(self, name: str) -> jobs.Job:
        """The machines, as a job of a run has them."""
        return jobs.Job(
            "1",
            device=self.device,
            name=name,
            vcpus=self.vcpus,
            memory=self.memory,
            timeout=self.timeout,
            share=self.share,
        )


def submit(aws: Aws, stack: str, asked: Parts) -> str:
    """Sends the array job, and prints where to see it; returns its id, "" in a dry run.

    Raises:
      UserError: no stack, queue or image; a place that jobs may not write; or AWS refuses.
    """
    found = stacks.outputs(aws, stack)
    ours = f"s3://{found['Bucket']}/runs/"
    if not aws.dry:
        image.require(aws, stack, asked.device)
        if not asked.output.startswith(ours):
            raise UserError(f"{asked.output}: jobs may write {ours}... alone")
    fitting.require(aws, stack, asked.device, asked.job(asked.name).size_of_machine)
    now = datetime.datetime.now(datetime.UTC)
    name = asked.name or f"{asked.command[0]}-{now:%Y%m%d-%H%M%S}"
    job_id = jobs.sent(aws, request(asked, Names(stack), name)).get("jobId", "")
    if job_id:
        print(f"submitted {name} in {asked.parts:,} parts ({asked.device}): {job_id}")
        print(f"  output  {asked.output}")
        print(f"  see     make batch-status JOB={job_id} STACK={stack}; a part: JOB={job_id}:3")
    return job_id


def request(asked: Parts, names: Names, name: str) -> dict:
    """The parameters of SubmitJob."""
    made = jobs.request(asked.job(name), names, name, asked.output)
    made["containerOverrides"] |= {
        "command": list(asked.command),
        "environment": [{"name": PARTS_VARIABLE, "value": str(asked.parts)}],
    }
    made["tags"]["application"] = re.sub(r"\W", "-", asked.command[0])
    return made | {"arrayProperties": {"size": asked.parts}}


def of_child(given: Sequence[str], index: str, parts: str) -> list[str]:
    """The command line of Python in a child of the array.

    Raises:
      UserError: it is no child of an array.
    """
    if not index:
        raise UserError(f"{PARTS_VARIABLE} is set, and this is no child of an array job")
    return ["-m", "flow_models", *given, "--part", f"{index}/{parts}"]
