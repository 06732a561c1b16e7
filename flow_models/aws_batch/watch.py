"""Looking at jobs of the stack, reading what they print, and ending them."""

from __future__ import annotations

import datetime
import getpass
import re
import time

from flow_models.aws_batch import INTERRUPTED, Names
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import UserError

STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
ENDED = ("SUCCEEDED", "FAILED")
PAUSE = 10.0  # seconds between looks
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}([:#]\d+)?")
_WAITING = (
    "no machine yet; for minutes that is usual, for longer look at the limits of the account (vCPUs"
    " of G instances), the subnets' way out, and MaxVcpus"
)


def listed(aws: Aws, stack: str, states: tuple[str, ...] = STATES) -> list[dict]:
    """Jobs of the stack's queues in these states, the newest first: what list_jobs tells of each.

    Raises:
      UserError: no such queue, which is no such stack.
    """
    found = []
    for queue in Names(stack).queues:
        for state in states:
            found += _pages(aws, queue, state)
    return sorted(found, key=lambda job: job["createdAt"], reverse=True)


def unfinished(aws: Aws, stack: str) -> list[dict]:
    """Jobs that have not ended."""
    return listed(aws, stack, STATES[:-2])


def _pages(aws: Aws, queue: str, state: str) -> list[dict]:
    found, token = [], {}
    while True:
        try:
            page = aws.call("batch", "list_jobs", jobQueue=queue, jobStatus=state, **token)
        except AwsError as error:
            if error.code == "ClientException":
                raise UserError(
                    f"no queue '{queue}' in {aws.region}: make batch-deploy, or name yours with"
                    " STACK="
                ) from error
            raise
        found += page.get("jobSummaryList", [])
        if not page.get("nextToken"):
            return found
        token = {"nextToken": page["nextToken"]}


def describe(aws: Aws, stack: str, job: str) -> dict:
    """The job of this id (id:3 is a child of an array, id#1 a machine of several) or name.

    Raises:
      UserError: there is none, or there are many of this name.
    """
    if not _ID.fullmatch(job):
        same = [each for each in listed(aws, stack) if each["jobName"] == job]
        if len(same) != 1:
            what = f"{len(same)} jobs have this name" if same else "no job has this id or name"
            raise UserError(f"job '{job}': {what}; make batch-status lists all")
        job = same[0]["jobId"]
    jobs = aws.call("batch", "describe_jobs", jobs=[job]).get("jobs", [])
    if not jobs:
        raise UserError(
            f"job '{job}': there is none in {aws.region}; AWS Batch forgets a job some days after"
            " its end"
        )
    return jobs[0]


def status(aws: Aws, stack: str, job: str = "", wait: bool = False) -> int:
    """Prints all jobs, or one, waiting for its end if asked; the exit status, 1 where that one
    failed.

    Raises:
      UserError: no such stack or job.
    """
    if not job:
        return _table(aws, stack)
    if aws.dry:
        aws.call("batch", "describe_jobs", jobs=[job])
        return 0
    now, before = describe(aws, stack, job), ""
    while True:
        if now["status"] != before:
            print(line(now), flush=True)
        if now["status"] in ENDED or not wait:
            break
        before = now["status"]
        time.sleep(PAUSE)
        now = describe(aws, stack, now["jobId"])
    for number, attempt in enumerate(now.get("attempts", []), 1):
        print(f"  attempt {number}: {_reason(attempt)}")
    return 1 if now["status"] == "FAILED" else 0


def line(job: dict) -> str:
    """A job in one line: what it does, and why it ended where it failed."""
    text = f"{job['jobId']}  {job['status']:9s}  {job['jobName']}"
    children = job.get("arrayProperties", {}).get("statusSummary") or {}
    said = [f"{number} {state}" for state, number in children.items() if number]
    if job["status"] == "FAILED":
        said.append(_reason(job))
    if job["status"] == "RUNNABLE":
        said.append(job.get("statusReason") or _WAITING)
    return f"{text}  {'; '.join(said)}".rstrip()


def _table(aws: Aws, stack: str) -> int:
    jobs = listed(aws, stack)
    for job in jobs:
        started = datetime.datetime.fromtimestamp(job["createdAt"] / 1000, datetime.timezone.utc)
        print(f"{started:%Y-%m-%d %H:%M}Z  {line(job)}")
    if not jobs and not aws.dry:
        print(f"no jobs in the queues of '{stack}': make batch-submit APP=1 ARGS=...")
    return 0


def _reason(ended: dict) -> str:
    """Why a job or an attempt ended."""
    box = ended.get("container", {})
    code = box.get("exitCode")
    parts = [
        ended.get("statusReason", ""),
        box.get("reason", ""),
        "" if code is None else f"exit status {code}",
    ]
    told = {
        INTERRUPTED: "interrupted, with all saved",
        137: "killed: out of memory, or its machine was taken",
    }.get(code, "")
    return "; ".join(part for part in [*parts, told] if part) or "no reason given"


def logs(aws: Aws, stack: str, job: str, follow: bool = False) -> int:
    """Prints what the job printed, going on to its end if asked; the exit status, 1 where it
    failed.

    Raises:
      UserError: no such job, or one that has not started.
    """
    if aws.dry:
        aws.call("batch", "describe_jobs", jobs=[job])
        aws.call(
            "logs", "get_log_events", logGroupName=Names(stack).log_group, logStreamName=f"of-{job}"
        )
        return 0
    now, token = describe(aws, stack, job), None
    if _is_parent(now):
        separator, what = (
            (":", "children") if now.get("arrayProperties", {}).get("size") else ("#", "machines")
        )
        raise UserError(
            f"job {now['jobId']} has {what}: make batch-logs JOB={now['jobId']}{separator}0, and"
            " so on"
        )
    while True:
        token = _print_new(aws, Names(stack).log_group, now, token)
        if now["status"] in ENDED or not follow:
            break
        time.sleep(PAUSE)
        now = describe(aws, stack, now["jobId"])
    if now["status"] == "FAILED":
        print(line(now))
    return 1 if now["status"] == "FAILED" else 0


def _is_parent(job: dict) -> bool:
    return bool(job.get("arrayProperties", {}).get("size") or job.get("nodeProperties"))


def _print_new(
    aws: Aws, group: str, job: dict, token: tuple[str, str] | None
) -> tuple[str, str] | None:
    """Prints what has come since the token, (stream, place in it); the next one. A new attempt is a
    new stream."""
    stream = job.get("container", {}).get("logStreamName")
    if not stream:
        print(f"{line(job)}: it has printed nothing yet")
        return token
    place = token[1] if token and token[0] == stream else None
    while True:
        more = {"nextToken": place} if place else {"startFromHead": True}
        page = aws.call("logs", "get_log_events", logGroupName=group, logStreamName=stream, **more)
        for event in page["events"]:
            print(event["message"], flush=True)
        if page["nextForwardToken"] == place:
            return stream, place
        place = page["nextForwardToken"]


def cancel(aws: Aws, stack: str, job: str) -> None:
    """Ends a job, started or not; a running one is told to stop, saves, and is not tried again.

    Raises:
      UserError: no such job, or one that has ended.
    """
    if aws.dry:
        aws.call("batch", "terminate_job", jobId=job, reason=_by_whom())
        return
    now = describe(aws, stack, job)
    if now["status"] in ENDED:
        raise UserError(
            f"job {now['jobId']} ({now['jobName']}) has ended already: {now['status']},"
            f" {_reason(now)}"
        )
    aws.call("batch", "terminate_job", jobId=now["jobId"], reason=_by_whom())
    print(f"told {now['jobName']} ({now['jobId']}) to stop; it was {now['status']}")


def _by_whom() -> str:
    try:
        return f"cancelled by {getpass.getuser()} with batch-cancel"
    except (OSError, KeyError):  # a user id without a name
        return "cancelled with batch-cancel"
