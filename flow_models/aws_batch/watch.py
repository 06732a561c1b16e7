"""Shows the jobs of a stack and what they print, and ends them."""

from __future__ import annotations

import datetime
import getpass
import re
import time
from collections.abc import Iterable, Iterator

from flow_models.aws_batch import Names
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import EX_TEMPFAIL, UserError

UNFINISHED = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
ENDED = ("SUCCEEDED", "FAILED")
PAUSE = 10.0  # seconds between looks
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}([:#]\d+)?")
_WAITING = (
    "no machine yet; that is usual for minutes, else look at the limits of the account (vCPUs of G"
    " instances), the subnets' way out, and MaxVcpus"
)
_EXIT_STATUSES = {
    EX_TEMPFAIL: "interrupted, with all saved; or S3 did not answer",
    137: "killed: out of memory, or its machine was taken",
}


def listed(aws: Aws, stack: str, states: Iterable[str] = UNFINISHED + ENDED) -> list[dict]:
    """Jobs of the stack's queues in these states, the newest first, as list_jobs describes them.

    Raises:
      UserError: no such queue, so no such stack.
    """
    queues = Names(stack).queues
    found = [job for queue in queues for state in states for job in _pages(aws, queue, state)]
    return sorted(found, key=lambda job: job["createdAt"], reverse=True)


def _pages(aws: Aws, queue: str, state: str) -> Iterator[dict]:
    token: dict[str, str] = {}
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
        yield from page.get("jobSummaryList", [])
        if not page.get("nextToken"):
            return
        token = {"nextToken": page["nextToken"]}


def describe(aws: Aws, stack: str, job: str) -> dict:
    """The job with this name or id (id:3 is a child of an array, id#1 a machine of several).

    Raises:
      UserError: no such job, or several with this name.
    """
    if not _ID.fullmatch(job):
        same = [each for each in listed(aws, stack) if each["jobName"] == job]
        if len(same) != 1:
            count = f"{len(same)} jobs have this name" if same else "no job has this id or name"
            raise UserError(f"job '{job}': {count}; make batch-status lists all")
        job = same[0]["jobId"]
    jobs = aws.call("batch", "describe_jobs", jobs=[job]).get("jobs", [])
    if not jobs:
        raise UserError(
            f"job '{job}': there is none in {aws.region}; AWS Batch forgets a job some days after"
            " its end"
        )
    return jobs[0]


def _looks(aws: Aws, stack: str, job: str, to_end: bool) -> Iterator[dict]:
    """The job as it is now and, if asked, again and again until it has ended."""
    now = describe(aws, stack, job)
    yield now
    while to_end and now["status"] not in ENDED:
        time.sleep(PAUSE)
        now = describe(aws, stack, now["jobId"])
        yield now


def status(aws: Aws, stack: str, job: str = "", wait: bool = False) -> int:
    """Prints all jobs, or one, and may wait for its end; returns 1 if that one failed, else 0.

    Raises:
      UserError: no such stack or job.
    """
    if not job:
        return _table(aws, stack)
    if aws.dry:
        aws.call("batch", "describe_jobs", jobs=[job])
        return 0
    now, before = {}, ""
    for now in _looks(aws, stack, job, wait):
        if now["status"] != before:
            print(line(now), flush=True)
        before = now["status"]
    for number, attempt in enumerate(now.get("attempts", []), 1):
        print(f"  attempt {number}: {_reason(attempt)}")
    return 1 if now["status"] == "FAILED" else 0


def line(job: dict) -> str:
    """A job in one line: its state, and why it waits or has failed."""
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
        started = datetime.datetime.fromtimestamp(job["createdAt"] / 1000, datetime.UTC)
        print(f"{started:%Y-%m-%d %H:%M}Z  {line(job)}")
    if not jobs and not aws.dry:
        print(f"no jobs in the queues of '{stack}': make batch-submit APP=1 ARGS=...")
    return 0


def _reason(ended: dict) -> str:
    """Why a job or an attempt ended."""
    container = ended.get("container", {})
    parts, code = [ended.get("statusReason"), container.get("reason")], container.get("exitCode")
    if code is not None:
        parts += [f"exit status {code}", _EXIT_STATUSES.get(code)]
    return "; ".join(part for part in parts if part) or "no reason given"


def logs(aws: Aws, stack: str, job: str, follow: bool = False) -> int:
    """Prints what the job printed, and may follow it to its end; returns 1 if it failed, else 0.

    Raises:
      UserError: no such job, or a job that has children.
    """
    if aws.dry:
        aws.call("batch", "describe_jobs", jobs=[job])
        aws.call(
            "logs", "get_log_events", logGroupName=Names(stack).log_group, logStreamName=f"of-{job}"
        )
        return 0
    now, token = {}, None
    for now in _looks(aws, stack, job, follow):
        _refuse_parent(now)
        token = _print_new(aws, Names(stack).log_group, now, token)
    if now["status"] == "FAILED":
        print(line(now))
    return 1 if now["status"] == "FAILED" else 0


def _refuse_parent(job: dict) -> None:
    """Raises UserError for a job that prints nothing itself."""
    for is_parent, separator, what in (
        (job.get("arrayProperties", {}).get("size"), ":", "children"),
        (job.get("nodeProperties"), "#", "machines"),
    ):
        if is_parent:
            child = f"{job['jobId']}{separator}0"
            raise UserError(
                f"job {job['jobId']} has {what}: make batch-logs JOB={child}, and so on"
            )


def _print_new(aws: Aws, group: str, job: dict, token: tuple | None) -> tuple | None:
    """Prints what is new since the token (stream, place in it); returns the next token.

    Each attempt of a job has a stream of its own.
    """
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
    """Ends a job, started or not. A running one saves first; it is not tried again.

    Raises:
      UserError: no such job, or it has ended already.
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
    return " ".join(["cancelled", *(["by", user()] if user() else []), "with batch-cancel"])


def user() -> str:
    """Who calls; "" for a user id without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
