"""AWS Batch: what is said to answers that a real account gives and moto does not, and what was
asked."""

import json
import re
import urllib.parse

import pytest
from aws_server import NOBODY, answers  # noqa: F401

from flow_models import UserError
from flow_models.aws_batch import image, stack, watch
from flow_models.aws_batch.aws import Aws

STACK = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult>
<Stacks><member><StackName>s</StackName><StackStatus>{}</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime>
<Outputs><member><OutputKey>Bucket</OutputKey><OutputValue>b</OutputValue></member><member>
<OutputKey>Repository</OutputKey><OutputValue>s</OutputValue></member></Outputs></member></Stacks>
</DescribeStacksResult></DescribeStacksResponse>"""
REFUSED = """<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code>
<Message>User: x is not authorized</Message></Error></ErrorResponse>"""


def parametrised(status: str, **values: str) -> str:
    """A stack in this state, with these parameters."""
    each = "<member><ParameterKey>{}</ParameterKey><ParameterValue>{}</ParameterValue></member>"
    listed = "".join(each.format(*item) for item in values.items())
    kept = f"<Parameters>{listed}</Parameters>"
    return STACK.replace("<Outputs>", f"{kept}<Outputs>").format(status)


@pytest.mark.parametrize(
    "code, line",
    [
        ("AccessDenied", "lack the permission cloudformation:DescribeStacks"),
        ("InvalidClientTokenId", "AWS does not know these credentials: check AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "the secret key is wrong"),
        ("ExpiredToken", "the credentials have expired: renew them"),
        ("Strange", "AWS answered Strange: User: x is not authorized"),
    ],
)
def test_refusals_are_one_line(answers, code, line):
    answers.replies["DescribeStacks"] = (403, REFUSED.format(code))
    with pytest.raises(UserError, match=re.escape(line)):
        stack.outputs(Aws(), "s")


@pytest.mark.parametrize(
    "status, line",
    [
        (
            "ROLLBACK_COMPLETE",
            "stack 's' is ROLLBACK_COMPLETE: make batch-delete, then make batch-deploy again",
        ),
        ("UPDATE_IN_PROGRESS", "stack 's' is being changed already (UPDATE_IN_PROGRESS)"),
    ],
)
def test_a_stack_that_cannot_be_changed_now_is_said(answers, status, line):
    answers.replies["DescribeStacks"] = (200, STACK.format(status))
    with pytest.raises(UserError, match=re.escape(line)):
        stack.deploy(Aws(), "s", {})
    assert [what for what, *_ in answers.asked] == ["DescribeStacks"]


def test_deploying_again_changes_what_is_given_and_keeps_the_rest(answers, capsys):
    done = parametrised("UPDATE_COMPLETE", VpcId="v", Spot="v", MaxVcpus="v")
    answers.replies |= {
        "DescribeStacks": (200, done),
        "UpdateStack": (200, "<R><UpdateStackResult/></R>"),
    }
    stack.deploy(Aws(), "s", {"MaxVcpus": "256"})
    assert "stack 's' in us-east-1 is changed" in capsys.readouterr().out
    form = urllib.parse.parse_qs(
        next(body for what, body, _ in answers.asked if what == "UpdateStack").decode()
    )
    sent = {
        form[f"Parameters.member.{i}.ParameterKey"][0]: form.get(
            f"Parameters.member.{i}.ParameterValue", ["kept"]
        )[0]
        for i in (1, 2, 3)
    }
    assert (
        sent == {"MaxVcpus": "256", "VpcId": "kept", "Spot": "kept"}
        and "Parameters.member.4.ParameterKey" not in form
    )
    assert form["TemplateBody"][0] == stack.TEMPLATE.read_text() and form[
        "Capabilities.member.1"
    ] == ["CAPABILITY_IAM"]
    nothing = REFUSED.format("ValidationError").replace(
        "User: x is not authorized", "No updates are to be performed."
    )
    answers.replies["UpdateStack"] = (400, nothing)
    stack.deploy(Aws(), "s", {})
    assert "deployed already, and nothing in it changes" in capsys.readouterr().out


def test_a_build_is_watched_to_its_end(answers, capsys, monkeypatch):
    monkeypatch.setattr(image, "PAUSE", 0.01)
    going = {"id": "s-image:1", "currentPhase": "BUILD", "buildStatus": "IN_PROGRESS"}
    broken = {
        "currentPhase": "COMPLETED",
        "buildStatus": "FAILED",
        "logs": {"deepLink": "https://logs"},
        "phases": [{"phaseType": "BUILD", "contexts": [{"message": "docker build failed"}]}],
    }
    key = f"source-{image.hashlib.sha256(image.archive()).hexdigest()[:16]}.zip"
    answers.replies |= {
        "DescribeStacks": (200, parametrised("CREATE_COMPLETE", VpcId="v", CpuImage="cpu")),
        "UpdateStack": (200, "<R><UpdateStackResult/></R>"),
        key: (200, ""),
        "StartBuild": (200, {"build": going}),
        "BatchGetBuilds": [(200, {"builds": [going]}), (200, {"builds": [going | broken]})],
    }
    assert image.build(Aws(), "s", "cpu") == 1
    assert "ended as FAILED: docker build failed; https://logs" in capsys.readouterr().out
    started = json.loads(next(body for what, body, _ in answers.asked if what == "StartBuild"))
    assert (started["projectName"], started["sourceLocationOverride"]) == (
        "s-image",
        f"b/build/{key}",
    )
    assert started["environmentVariablesOverride"] == [
        {"name": "DEVICE", "value": "cpu", "type": "PLAINTEXT"},
        {"name": "SOURCE", "value": key[7:23], "type": "PLAINTEXT"},
        {"name": "PACKAGES", "value": image.packages(), "type": "PLAINTEXT"},
    ]
    assert "UpdateStack" not in [what for what, *_ in answers.asked], "jobs keep the last image"
    answers.replies["BatchGetBuilds"] = (
        200,
        {"builds": [going | {"currentPhase": "COMPLETED", "buildStatus": "SUCCEEDED"}]},
    )
    assert image.build(Aws(), "s", "cpu") == 0
    changed = next(body for what, body, _ in answers.asked if what == "UpdateStack").decode()
    sent = dict(urllib.parse.parse_qsl(changed))
    assert sent["Parameters.member.1.ParameterKey"] == "CpuImage"
    assert sent["Parameters.member.1.ParameterValue"] == f"cpu-{key[7:23]}"
    assert sent["Parameters.member.2.ParameterKey"] == "VpcId"
    assert sent["Parameters.member.2.UsePreviousValue"] == "true" == sent["UsePreviousTemplate"]
    assert "TemplateBody" not in sent, "a build changes nothing but the image"


def test_a_stack_without_named_images_is_older(answers):
    answers.replies["DescribeStacks"] = (200, STACK.format("CREATE_COMPLETE"))
    with pytest.raises(UserError, match="stack 's' is older than these sources: make batch-deploy"):
        image.build(Aws(), "s", "cpu")
    assert {what for what, *_ in answers.asked} == {"DescribeStacks"}


def test_logs_are_followed_over_attempts_to_the_end(answers, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0.01)
    job = {
        "jobId": NOBODY,
        "jobName": "j",
        "jobQueue": "q",
        "jobDefinition": "d",
        "startedAt": 0,
        "createdAt": 0,
    }
    first = job | {"status": "RUNNING", "container": {"logStreamName": "one"}}
    last = job | {
        "status": "FAILED",
        "statusReason": "Essential container in task exited",
        "container": {"logStreamName": "two", "exitCode": 137, "reason": "OutOfMemoryError"},
    }
    waiting = job | {"status": "STARTING", "container": {}}
    answers.replies["describejobs"] = [(200, {"jobs": [each]}) for each in (waiting, first, last)]
    page = lambda token, *lines: (
        200,
        {"events": [{"message": line} for line in lines], "nextForwardToken": token},
    )
    answers.replies["GetLogEvents"] = [
        page("a", "step 1"),
        page("b", "step 2"),
        page("b"),
        page("c", "step 3"),
        page("c"),
    ]
    assert watch.logs(Aws(), "s", NOBODY, follow=True) == 1
    said = capsys.readouterr().out
    assert re.search("printed nothing yet\nstep 1\nstep 2\nstep 3\n", said)
    assert "OutOfMemoryError; exit status 137; killed: out of memory" in said
    asked = [json.loads(body) for what, body, _ in answers.asked if what == "GetLogEvents"]
    assert [each["logStreamName"] for each in asked] == ["one"] * 3 + ["two"] * 2
    assert [each.get("nextToken") for each in asked] == [None, "a", "b", None, "c"]


JOB = {
    "jobId": NOBODY,
    "jobName": "j",
    "jobQueue": "q",
    "jobDefinition": "d",
    "startedAt": 0,
    "createdAt": 1,
}


def running(body: bytes) -> tuple[int, dict]:
    """One job, found where running jobs of the first queue are asked for."""
    asked = json.loads(body)
    there = (asked["jobQueue"], asked["jobStatus"]) == ("s-gpu", "RUNNING")
    return 200, {
        "jobSummaryList": (
            [{"jobId": NOBODY, "jobName": "j", "createdAt": 1, "status": "RUNNING"}]
            if there
            else []
        )
    }


def test_a_running_job_is_cancelled_and_holds_the_stack(answers, capsys):
    answers.replies |= {
        "listjobs": running,
        "DescribeStacks": (200, STACK.format("CREATE_COMPLETE")),
        "terminatejob": (200, {}),
        "describejobs": (200, {"jobs": [JOB | {"status": "RUNNING"}]}),
    }
    with pytest.raises(
        UserError, match=f"1 jobs of 's' have not ended: make batch-cancel JOB={NOBODY} first"
    ):
        stack.delete(Aws(), "s")
    watch.cancel(Aws(), "s", "j")
    assert f"told j ({NOBODY}) to stop; it was RUNNING" in capsys.readouterr().out
    sent = json.loads(next(body for what, body, _ in answers.asked if what == "terminatejob"))
    assert sent["jobId"] == NOBODY and "with batch-cancel" in sent["reason"]
    assert "DeleteStack" not in [what for what, *_ in answers.asked]


def test_a_job_cancelled_from_outside_is_a_failure_with_its_reason(answers, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0.01)
    ended = JOB | {
        "status": "FAILED",
        "statusReason": "the budget is spent",
        "container": {"exitCode": 75},
    }
    answers.replies["describejobs"] = [
        (200, {"jobs": [each]}) for each in (JOB | {"status": "RUNNING"}, ended, ended)
    ]
    assert watch.status(Aws(), "s", NOBODY, wait=True) == 1
    said = capsys.readouterr().out
    assert "RUNNING    j" in said and re.search(
        "FAILED +j +the budget is spent; exit status 75; interrupted, with all", said
    )
    with pytest.raises(UserError, match="has ended already: FAILED, the budget is spent"):
        watch.cancel(Aws(), "s", NOBODY)
    assert "terminatejob" not in [what for what, *_ in answers.asked]


def test_attempts_of_a_job_on_spot_are_told(answers, capsys):
    attempts = [
        {"statusReason": "Host EC2 (instance i-1) terminated.", "container": {}},
        {"statusReason": "Essential container in task exited", "container": {"exitCode": 75}},
    ]
    job = {
        "jobId": NOBODY,
        "jobName": "j",
        "jobQueue": "q",
        "jobDefinition": "d",
        "startedAt": 0,
        "status": "RUNNABLE",
    }
    answers.replies["describejobs"] = (200, {"jobs": [job | {"attempts": attempts}]})
    assert watch.status(Aws(), "s", NOBODY) == 0
    said = capsys.readouterr().out
    assert "no machine yet" in said and "attempt 1: Host EC2 (instance i-1) terminated." in said
    assert "exit status 75; interrupted, with all saved" in said
