"""AWS Batch: what is sent, what is said, and what a container does first. doc/aws_batch.md says what this proves."""

import email
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import pytest
from aws_server import aws_server
from servers import aws_environment, environment

from flow_models import UserError
from flow_models.batch import INTERRUPTED, Names, entry, image, jobs, stack, sweep, watch
from flow_models.batch.aws import Aws
from flow_models.batch.jobs import Job

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "awsbatch-support"
TYPES = {"GpuInstanceTypes": "g5.xlarge,g5.2xlarge", "CpuInstanceTypes": "c6i,m6i"}  # moto does not part defaults
NOBODY = "00000000-0000-0000-0000-000000000000"


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


# --- the template and the Dockerfile


def test_template_passes_cfn_lint():
    done = subprocess.run([program("cfn-lint"), "-r", "us-east-1", "eu-central-1", "--", SUPPORT / "template.yaml"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_dockerfile_passes_hadolint_and_copies_what_the_archive_holds():
    done = subprocess.run([program("hadolint"), SUPPORT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    text = (SUPPORT / "Dockerfile").read_text()
    names = zipfile.ZipFile(io.BytesIO(image.archive())).namelist()
    for what in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for pattern in what.split():
            assert any(Path(name).match(pattern) or name.startswith(f"{pattern}/") for name in names), pattern
    assert re.search(r"^FROM \S+:3\.11\.\d+\S*@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert text.index("USER 1000") < text.index("ENTRYPOINT") and '"flow_models.batch.entry"' in text
    assert "# tests" in (ROOT / "requirements.txt").read_text(), "the Dockerfile leaves out what is below this line"


@pytest.mark.parametrize("device, line", [("gpu", "tensorflow[and-cuda]==2.21.0"), ("cpu", "tensorflow==2.21.0")])
def test_the_image_installs_what_a_device_needs_and_nothing_of_the_tests(tmp_path, device, line):
    done = in_dockerfile(tmp_path, device)
    installed = done.stdout.splitlines()
    assert done.returncode == 0 and line in installed and "tensorflow-probability==0.25.0" in installed
    assert not [each for each in installed if each.startswith(("pytest", "moto", "seaweedfs", "cfn-lint", "hadolint"))]


def test_the_image_is_not_built_for_another_device(tmp_path):
    done = in_dockerfile(tmp_path, "tpu")
    assert (done.returncode, done.stdout) == (2, "") and "DEVICE is gpu or cpu, not 'tpu'" in done.stderr


def in_dockerfile(folder: Path, device: str) -> subprocess.CompletedProcess:
    """Runs the step of the Dockerfile that installs, with a `pip` that prints the file it is given."""
    text = (SUPPORT / "Dockerfile").read_text().replace("\\\n", " ")
    step = next(line[4:] for line in text.splitlines() if line.startswith("RUN") and "pip install" in line)
    (folder / "pip").write_text('#!/bin/sh\ncat "$3"\n')
    (folder / "pip").chmod(0o755)
    surroundings = {"PATH": f"{folder}:{os.environ['PATH']}", "DEVICE": device}
    step = step.replace("/tmp/", f"{folder}/")
    return subprocess.run(["sh", "-c", step], cwd=ROOT, env=surroundings, capture_output=True, text=True)


def test_archive_is_small_whole_and_the_same_each_time():
    first, second = image.archive(), image.archive()
    assert first == second and len(first) < 2_000_000
    names = set(zipfile.ZipFile(io.BytesIO(first)).namelist())
    assert {"awsbatch-support/Dockerfile", "flow_models/templates/report.html", "train_flowmodels1.py"} <= names
    assert not [name for name in names if name.startswith(("tests", "runs", ".")) or name.endswith(".pyc")]


def test_a_job_starts_from_the_archive_alone(tmp_path):
    zipfile.ZipFile(io.BytesIO(image.archive())).extractall(tmp_path)
    first = [sys.executable, "-m", "flow_models.batch.entry", "train_flowmodels1.py", "--help"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(first, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0 and "--architecture" in done.stdout, done.stderr


@pytest.fixture(scope="module")
def resources() -> dict:
    """Resources of the template with CloudFormation's functions in their long form."""
    from cfnlint.decode import cfn_yaml

    return json.loads(json.dumps(cfn_yaml.load(str(stack.TEMPLATE))))["Resources"]


def test_every_job_is_retried_after_a_lost_host_and_after_an_interruption_alone(resources):
    found = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Batch::JobDefinition"]
    assert len(found) == 4
    for job in found:
        assert job["RetryStrategy"]["EvaluateOnExit"] == [
            {"Action": "RETRY", "OnStatusReason": "Host EC2*"},
            {"Action": "RETRY", "OnExitCode": str(INTERRUPTED)},
            {"Action": "EXIT", "OnReason": "*"},
        ]
        assert job["Timeout"]["AttemptDurationSeconds"] == {"Ref": "TimeoutSeconds"}


def test_several_machines_are_never_spot_and_may_talk_to_each_other(resources):
    kinds = {name: each["Properties"]["ComputeResources"]["Type"] for name, each in resources.items()
             if each["Type"] == "AWS::Batch::ComputeEnvironment"}  # fmt: skip
    spot = {"Fn::If": ["UseSpot", "SPOT", "EC2"]}
    assert kinds == {"GpuEnvironment": spot, "CpuEnvironment": spot, "GpuNodesEnvironment": "EC2",
                     "CpuNodesEnvironment": "EC2"}  # fmt: skip
    between = resources["BetweenWorkers"]["Properties"]
    assert between["GroupId"] == between["SourceSecurityGroupId"] and between["IpProtocol"] == "-1"
    for name in ("GpuNodesJob", "CpuNodesJob"):
        nodes = resources[name]["Properties"]["NodeProperties"]
        assert nodes["MainNode"] == 0 and nodes["NodeRangeProperties"][0]["TargetNodes"] == "0:"


def test_instances_give_jobs_time_to_save(resources):
    launch = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    parts = email.message_from_string(launch["UserData"]["Fn::Base64"]).get_payload()
    script = parts[0].get_payload()
    assert parts[0].get_content_type() == "text/x-shellscript" and script.startswith("#!/bin/bash\n")
    seconds = int(re.search(r"ECS_CONTAINER_STOP_TIMEOUT=(\d+)s >> /etc/ecs/ecs.config", script)[1])
    assert 30 < seconds < 120, "more than AWS gives by default, less than a spot instance has"
    assert launch["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
    }


def test_roles_may_do_no_more_than_they_need(resources):
    roles = {name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::IAM::Role"}
    assert set(roles) == {"JobRole", "InstanceRole", "BuildRole"}
    wide = set()
    for role in roles.values():
        assert "ManagedPolicyArns" not in role
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                assert not [action for action in actions if re.fullmatch(r"(\w+:)?\*", action)]
                wide |= set(actions) if statement["Resource"] == "*" else set()
    assert {action.partition(":")[0] for action in wide} == {"ecs", "ec2", "ecr"}
    assert [each for each in wide if each.startswith("ecr")] == ["ecr:GetAuthorizationToken"]
    job = json.dumps(roles["JobRole"]["Policies"])
    assert set(re.findall(r'"(\w+):[A-Z]\w+"', job)) == {"s3"}


# --- the stack and jobs on a stand-in for AWS


def adapted(folder: Path) -> Path:
    """The template for moto, which wants a service role and knows no job definition of the template's form."""
    from cfnlint.decode import cfn_yaml

    text = json.loads(json.dumps(cfn_yaml.load(str(stack.TEMPLATE))))
    for name, each in list(text["Resources"].items()):
        if each["Type"] == "AWS::Batch::ComputeEnvironment":
            each["Properties"]["ServiceRole"] = {"Fn::GetAtt": ["JobRole", "Arn"]}
        if each["Type"] in ("AWS::Batch::JobDefinition", "AWS::CodeBuild::Project"):
            del text["Resources"][name]
    place = folder / "template.json"
    place.write_text(json.dumps(text))
    return place


def as_request(value):
    """A resource of the template in the form of the service's own request."""
    if isinstance(value, list):
        return [as_request(each) for each in value if "Fn::If" not in each]
    if not isinstance(value, dict):
        return value
    if set(value) <= {"Ref", "Fn::Sub", "Fn::GetAtt"}:
        known = {"GpuCount": "1", "GpuVcpus": "4", "CpuVcpus": "4", "GpuMemory": "14000", "CpuMemory": "7000",
                 "SharedMemory": 2048, "TimeoutSeconds": 86400}  # fmt: skip
        inside = next(iter(value.values()))
        return inside.replace("${AWS::StackName}", "flow-models") if "Fn::Sub" in value else known.get(inside, "x") \
            if isinstance(inside, str) else "x"  # fmt: skip
    return {key[0].lower() + key[1:]: as_request(each) for key, each in value.items()}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, resources):
    """A client of the stand-in, with a deployed stack, its job definitions, and an image for GPU."""
    folder = tmp_path_factory.mktemp("aws")
    patch = pytest.MonkeyPatch()
    patch.setattr(stack, "TEMPLATE", adapted(folder))
    with aws_server(folder):
        aws = Aws()
        stack.deploy(aws, "flow-models", TYPES)
        for each in resources.values():
            if each["Type"] == "AWS::Batch::JobDefinition":
                aws.call("batch", "register_job_definition", **as_request(each["Properties"]))
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {"mediaType": "a", "size": 1, "digest": "sha256:" + "0" * 64}, "layers": []}  # fmt: skip
        aws.call("ecr", "put_image", repositoryName="flow-models", imageManifest=json.dumps(manifest), imageTag="gpu")
        yield aws
    patch.undo()


def until_ended(aws: Aws, job: str) -> dict:
    for _ in range(200):
        now = watch.describe(aws, "flow-models", job)
        if now["status"] in watch.ENDED:
            return now
        time.sleep(0.05)
    raise AssertionError(f"{now['status']} after 10 s")


def test_a_job_is_sent_and_said_where_to_see(deployed, capsys):
    job = jobs.submit(deployed, "flow-models", Job("1", ("--data", "moons"), name="mine"))
    said = capsys.readouterr().out
    bucket = stack.outputs(deployed, "flow-models")["Bucket"]
    assert f"#jobs/detail/{job}" in said and f"s3://{bucket}/runs/flowmodels1/mine" in said and "no server" in said
    now = until_ended(deployed, job)
    assert (now["jobName"], now["status"]) == ("mine", "SUCCEEDED")
    command = ["train_flowmodels1.py", "--data", "moons", "--output-dir", f"s3://{bucket}/runs/flowmodels1/mine"]
    assert now["container"]["command"] == command
    assert watch.status(deployed, "flow-models", "mine", wait=True) == 0
    assert "SUCCEEDED  mine" in capsys.readouterr().out
    assert watch.status(deployed, "flow-models") == 0 and job in capsys.readouterr().out


def test_an_array_has_a_child_for_each_setting(deployed):
    job = jobs.submit(deployed, "flow-models", Job("1", sweep="seed=0,1,2 depth=3,5", name="six"))
    now = watch.describe(deployed, "flow-models", job)
    assert now["arrayProperties"]["size"] == 6
    with pytest.raises(UserError, match=f"has children: make batch-logs JOB={job}:0"):
        watch.logs(deployed, "flow-models", job)


@pytest.mark.parametrize(
    "action, line",
    [
        (lambda aws: stack.outputs(aws, "other"), "no stack 'other' in us-east-1: make batch-deploy"),
        (lambda aws: stack.delete(aws, "other"), "no stack 'other' in us-east-1: there is nothing to delete"),
        (lambda aws: watch.status(aws, "other"), "no queue 'other-gpu' in us-east-1: make batch-deploy"),
        (lambda aws: watch.status(aws, "flow-models", "nothing"), "job 'nothing': no job has this id or name"),
        (lambda aws: watch.logs(aws, "flow-models", NOBODY), f"job '{NOBODY}': there is none in us-east-1"),
        (
            lambda aws: jobs.submit(aws, "flow-models", Job("1", device="cpu")),
            "no cpu image yet: make batch-build DEVICE=cpu",
        ),
        (lambda aws: stack.deploy(aws, "new", {"VpcId": "vpc-1"}), "a network needs both: VPC=vpc-... and SUBNETS="),
        (lambda aws: stack.deploy(aws, "new", {"Spott": "true"}), "did you mean 'Spot'"),
    ],
)
def test_what_is_not_there_is_said(deployed, action, line):
    with pytest.raises(UserError, match=re.escape(line)):
        action(deployed)


def test_a_missing_queue_is_said(deployed):
    class Elsewhere(Aws):
        def call(self, service, operation, **parameters):
            queue = {"jobQueue": "gone"} if operation == "submit_job" else {}
            return super().call(service, operation, **parameters | queue)

    with pytest.raises(UserError, match="no queue 'flow-models-gpu' in us-east-1 that takes jobs: make batch-deploy"):
        jobs.submit(Elsewhere(), "flow-models", Job("1"))


def test_the_stack_goes_and_the_bucket_stays(tmp_path, deployed, capsys):
    stack.deploy(deployed, "second", TYPES)
    stack.delete(deployed, "second")
    assert re.search(r"stack 'second' is deleted; the runs in s3://\S+ stay", capsys.readouterr().out)
    assert stack.describe(deployed, "second") is None


# --- requests, and answers that the stand-in does not give


def test_requests_of_all_kinds_of_jobs():
    names = Names("s")
    one = jobs.request(Job("2", ("--steps", "9"), gpus=2, memory=30000), names, "n", "s3://b/n")
    assert one["jobQueue"] == one["jobDefinition"] == "s-gpu" and one["propagateTags"]
    assert one["containerOverrides"] == {
        "command": ["train_flowmodels2.py", "--steps", "9", "--output-dir", "s3://b/n"],
        "resourceRequirements": [{"type": "GPU", "value": "2"}, {"type": "MEMORY", "value": "30000"}],
    }
    several = jobs.request(Job("2", nodes=4, device="cpu"), names, "n", "s3://b/n")
    assert several["jobQueue"] == "s-cpu-nodes" and several["nodeOverrides"]["numNodes"] == 4
    every = several["nodeOverrides"]["nodePropertyOverrides"]
    assert [each["targetNodes"] for each in every] == ["0:"] and "containerOverrides" not in several
    assert every[0]["containerOverrides"]["command"][-2:] == ["--strategy", "multiworker"]
    array = jobs.request(Job("1", sweep="seed=0,1,2"), names, "n", "s3://b/n")
    assert array["arrayProperties"] == {"size": 3}
    assert array["containerOverrides"]["environment"] == [{"name": "FLOW_MODELS_SWEEP", "value": "seed=0,1,2"}]


@pytest.mark.parametrize("job, line", [
    ({"app": "9"}, "there is no application '9'"),
    ({"app": "1", "arguments": ("--stps", "3")}, "no flag --stps; did you mean --steps?"),
    ({"app": "1", "arguments": ("--steps", "none")}, "--steps: Expected a int"),
    ({"app": "1", "arguments": ("--config", "c.yaml")}, "--config: a job has no file of this machine"),
    ({"app": "1", "arguments": ("--output_dir=x",)}, "--output_dir=x: a job has no file of this machine"),
    ({"app": "1", "sweep": "depth=3,five"}, "--depth: Expected a int"),
    ({"app": "1", "sweep": "resume=true,false"}, "--resume: a job has"),
    ({"app": "1", "sweep": "seed=1"}, "1 settings; an array job has 2 to 10,000"),
    ({"app": "1", "sweep": "seed"}, "'seed' is not of the form setting=value,value"),
    ({"app": "1", "sweep": "seed=0,1", "nodes": 2}, "a sweep is of jobs on one machine each"),
    ({"app": "1", "nodes": 0}, "0 nodes"),
    ({"app": "1", "gpus": 2, "device": "cpu"}, "2 GPUs of a job on CPUs: DEVICE=gpu"),
    ({"app": "1", "arguments": ("--data", __file__)}, "lies on this machine, where the job is not: put it into S3"),
    ({"app": "1", "name": "a b"}, "name 'a b': up to 128 of"),
    ({"app": "1", "output": "/tmp/x"}, "output '/tmp/x': the machine of a job is gone with the job"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_is_sent(job, line):
    with pytest.raises(UserError, match=re.escape(line)):
        jobs.check_arguments(Job(**job))


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with what the test put into `replies`, by operation or path; notes what was asked in `asked`."""

    replies: dict = {}
    asked: list = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = dict(part.split("=", 1) for part in body.decode(errors="replace").split("&") if "=" in part)
        what = (
            self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            or form.get("Action")
            or self.path.rpartition("/")[2]
        )
        type(self).asked.append((what, body, dict(self.headers)))
        reply = self.replies[what]
        status, answer = reply.pop(0) if isinstance(reply, list) else reply(body) if callable(reply) else reply
        self.send_response(status)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        if isinstance(answer, dict) and "__type" in answer:
            self.send_header("x-amzn-ErrorType", answer["__type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def answers():
    """A server on loopback that is all of AWS, and says what the test wants; gives its handler."""
    handler = type("Handler", (Answers,), {"replies": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"
    with aws_environment(handler.address, "test", "test"), environment(AWS_MAX_ATTEMPTS="1"):
        yield handler
    server.shutdown()
    server.server_close()


STACK = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult>
<Stacks><member><StackName>s</StackName><StackStatus>{}</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime>
<Outputs><member><OutputKey>Bucket</OutputKey><OutputValue>b</OutputValue></member><member>
<OutputKey>Repository</OutputKey><OutputValue>s</OutputValue></member></Outputs></member></Stacks>
</DescribeStacksResult></DescribeStacksResponse>"""
REFUSED = """<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>User: x is not authorized</Message>
</Error></ErrorResponse>"""


@pytest.mark.parametrize("code, line", [
    ("AccessDenied", "lack the permission cloudformation:DescribeStacks"),
    ("InvalidClientTokenId", "AWS does not know these credentials: check AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "the secret key is wrong"),
    ("ExpiredToken", "the credentials have expired: renew them"),
    ("Strange", "AWS answered Strange: User: x is not authorized"),
])  # fmt: skip
def test_refusals_are_one_line(answers, code, line):
    answers.replies["DescribeStacks"] = (403, REFUSED.format(code))
    with pytest.raises(UserError, match=re.escape(line)):
        stack.outputs(Aws(), "s")


@pytest.mark.parametrize("status, line", [
    ("ROLLBACK_COMPLETE", "stack 's' is ROLLBACK_COMPLETE: make batch-delete, then make batch-deploy again"),
    ("UPDATE_IN_PROGRESS", "stack 's' is being changed already (UPDATE_IN_PROGRESS)"),
])  # fmt: skip
def test_a_stack_that_cannot_be_changed_now_is_said(answers, status, line):
    answers.replies["DescribeStacks"] = (200, STACK.format(status))
    with pytest.raises(UserError, match=re.escape(line)):
        stack.deploy(Aws(), "s", {})
    assert [what for what, *_ in answers.asked] == ["DescribeStacks"]


def test_deploying_again_changes_what_is_given_and_keeps_the_rest(answers, capsys):
    kept = (
        "<Parameters>"
        + "".join(
            f"<member><ParameterKey>{name}</ParameterKey><ParameterValue>v</ParameterValue></member>"
            for name in ("VpcId", "Spot", "MaxVcpus")
        )
        + "</Parameters>"
    )
    done = STACK.replace("<Outputs>", f"{kept}<Outputs>").format("UPDATE_COMPLETE")
    answers.replies |= {"DescribeStacks": (200, done), "UpdateStack": (200, "<R><UpdateStackResult/></R>")}
    stack.deploy(Aws(), "s", {"MaxVcpus": "256"})
    assert "stack 's' in us-east-1 is changed" in capsys.readouterr().out
    form = urllib.parse.parse_qs(next(body for what, body, _ in answers.asked if what == "UpdateStack").decode())
    sent = {
        form[f"Parameters.member.{i}.ParameterKey"][0]: form.get(f"Parameters.member.{i}.ParameterValue", ["kept"])[0]
        for i in (1, 2, 3)
    }
    assert (
        sent == {"MaxVcpus": "256", "VpcId": "kept", "Spot": "kept"} and "Parameters.member.4.ParameterKey" not in form
    )
    assert form["TemplateBody"][0] == stack.TEMPLATE.read_text() and form["Capabilities.member.1"] == ["CAPABILITY_IAM"]
    nothing = REFUSED.format("ValidationError").replace("User: x is not authorized", "No updates are to be performed.")
    answers.replies["UpdateStack"] = (400, nothing)
    stack.deploy(Aws(), "s", {})
    assert "deployed already, and nothing in it changes" in capsys.readouterr().out


def test_a_build_is_watched_to_its_end(answers, capsys, monkeypatch):
    monkeypatch.setattr(image, "PAUSE", 0.01)
    going = {"id": "s-image:1", "currentPhase": "BUILD", "buildStatus": "IN_PROGRESS"}
    broken = {"currentPhase": "COMPLETED", "buildStatus": "FAILED", "logs": {"deepLink": "https://logs"},
              "phases": [{"phaseType": "BUILD", "contexts": [{"message": "docker build failed"}]}]}  # fmt: skip
    key = f"source-{image.hashlib.sha256(image.archive()).hexdigest()[:16]}.zip"
    answers.replies |= {
        "DescribeStacks": (200, STACK.format("CREATE_COMPLETE")), key: (200, ""), "StartBuild": (200, {"build": going}),
        "BatchGetBuilds": [(200, {"builds": [going]}), (200, {"builds": [going | broken]})],
    }  # fmt: skip
    assert image.build(Aws(), "s", "cpu") == 1
    assert "ended as FAILED: docker build failed; https://logs" in capsys.readouterr().out
    started = json.loads(next(body for what, body, _ in answers.asked if what == "StartBuild"))
    assert (started["projectName"], started["sourceLocationOverride"]) == ("s-image", f"b/build/{key}")
    assert started["environmentVariablesOverride"] == [{"name": "DEVICE", "value": "cpu", "type": "PLAINTEXT"}]
    answers.replies["BatchGetBuilds"] = (
        200,
        {"builds": [going | {"currentPhase": "COMPLETED", "buildStatus": "SUCCEEDED"}]},
    )
    assert image.build(Aws(), "s", "cpu") == 0


def test_logs_are_followed_over_attempts_to_the_end(answers, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0.01)
    job = {"jobId": NOBODY, "jobName": "j", "jobQueue": "q", "jobDefinition": "d", "startedAt": 0, "createdAt": 0}
    first = job | {"status": "RUNNING", "container": {"logStreamName": "one"}}
    last = job | {"status": "FAILED", "statusReason": "Essential container in task exited",
                  "container": {"logStreamName": "two", "exitCode": 137, "reason": "OutOfMemoryError"}}  # fmt: skip
    waiting = job | {"status": "STARTING", "container": {}}
    answers.replies["describejobs"] = [(200, {"jobs": [each]}) for each in (waiting, first, last)]
    page = lambda token, *lines: (200, {"events": [{"message": line} for line in lines], "nextForwardToken": token})  # noqa: E731
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


JOB = {"jobId": NOBODY, "jobName": "j", "jobQueue": "q", "jobDefinition": "d", "startedAt": 0, "createdAt": 1}


def running(body: bytes) -> tuple[int, dict]:
    """One job, found where running jobs of the first queue are asked for."""
    asked = json.loads(body)
    there = (asked["jobQueue"], asked["jobStatus"]) == ("s-gpu", "RUNNING")
    return 200, {
        "jobSummaryList": [{"jobId": NOBODY, "jobName": "j", "createdAt": 1, "status": "RUNNING"}] if there else []
    }


def test_a_running_job_is_cancelled_and_holds_the_stack(answers, capsys):
    answers.replies |= {
        "listjobs": running,
        "DescribeStacks": (200, STACK.format("CREATE_COMPLETE")),
        "terminatejob": (200, {}),
        "describejobs": (200, {"jobs": [JOB | {"status": "RUNNING"}]}),
    }
    with pytest.raises(UserError, match=f"1 jobs of 's' have not ended: make batch-cancel JOB={NOBODY} first"):
        stack.delete(Aws(), "s")
    watch.cancel(Aws(), "s", "j")
    assert f"told j ({NOBODY}) to stop; it was RUNNING" in capsys.readouterr().out
    sent = json.loads(next(body for what, body, _ in answers.asked if what == "terminatejob"))
    assert sent["jobId"] == NOBODY and "with batch-cancel" in sent["reason"]
    assert "DeleteStack" not in [what for what, *_ in answers.asked]


def test_a_job_cancelled_from_outside_is_a_failure_with_its_reason(answers, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0.01)
    ended = JOB | {"status": "FAILED", "statusReason": "the budget is spent", "container": {"exitCode": 75}}
    answers.replies["describejobs"] = [(200, {"jobs": [each]}) for each in (JOB | {"status": "RUNNING"}, ended, ended)]
    assert watch.status(Aws(), "s", NOBODY, wait=True) == 1
    said = capsys.readouterr().out
    assert "RUNNING    j" in said and re.search(
        "FAILED +j +the budget is spent; exit status 75; interrupted, with all", said
    )
    with pytest.raises(UserError, match="has ended already: FAILED, the budget is spent"):
        watch.cancel(Aws(), "s", NOBODY)
    assert "terminatejob" not in [what for what, *_ in answers.asked]


def test_attempts_of_a_job_on_spot_are_told(answers, capsys):
    attempts = [{"statusReason": "Host EC2 (instance i-1) terminated.", "container": {}},
                {"statusReason": "Essential container in task exited", "container": {"exitCode": 75}}]  # fmt: skip
    job = {"jobId": NOBODY, "jobName": "j", "jobQueue": "q", "jobDefinition": "d", "startedAt": 0, "status": "RUNNABLE"}
    answers.replies["describejobs"] = (200, {"jobs": [job | {"attempts": attempts}]})
    assert watch.status(Aws(), "s", NOBODY) == 0
    said = capsys.readouterr().out
    assert "no machine yet" in said and "attempt 1: Host EC2 (instance i-1) terminated." in said
    assert "exit status 75; interrupted, with all saved" in said


# --- the command line


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    surroundings = cleared | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                              "AWS_EC2_METADATA_DISABLED": "true", "VIRTUAL_ENV": sys.prefix} | variables  # fmt: skip
    return subprocess.run(arguments, cwd=ROOT, env=surroundings, capture_output=True, text=True)


def test_no_region_and_no_credentials_are_one_line_and_status_2():
    asked = (sys.executable, "-m", "flow_models", "batch", "status")
    done = command(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("error: no region is set: export AWS_DEFAULT_REGION=") and done.stderr.count("\n") == 1
    )
    done = command(*asked, AWS_DEFAULT_REGION="us-east-1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "error: batch list_jobs: no usable credentials: set AWS_ACCESS_KEY_ID" in done.stderr


@pytest.mark.parametrize(
    "arguments, shown",
    [
        (
            ["batch-deploy", "SPOT=false", "PARAMETERS=MaxVcpus=256 GpuCount=4"],
            ["CreateStack", '"Spot"', '"256"', '"GpuCount"'],
        ),
        (["batch-build", "DEVICE=cpu"], ["PutObject", "StartBuild", "flow-models-image"]),
        (
            ["batch-submit", "APP=1", "NODES=4", "ARGS=--columns '[a, \"b c\"]'"],
            ["SubmitJob", "flow-models-gpu-nodes", '"numNodes": 4', r'"[a, \"b c\"]"'],
        ),
        (
            ["batch-submit", "APP=2", "DEVICE=cpu", "SWEEP=seed=0,1 batch_size=32,64", "OUTPUT=s3://b/x"],
            ['"flow-models-cpu"', '"size": 4', "seed=0,1 batch_size=32,64", "s3://b/x"],
        ),
        (["batch-cancel", f"JOB={NOBODY}", "STACK=mine"], ["TerminateJob", NOBODY]),
        (["batch-logs", f"JOB={NOBODY}", "STACK=mine"], ["GetLogEvents", "/flow-models/mine"]),
        (["batch-delete", "STACK=mine"], ["DeleteStack", '"mine"']),
    ],
)
def test_make_shows_what_it_would_send_without_credentials(arguments, shown):
    done = command("make", *arguments, "DRY_RUN=1", AWS_DEFAULT_REGION="us-east-1")
    assert done.returncode == 0, done.stderr
    assert [each for each in shown if each not in done.stdout] == []


def test_a_reader_that_has_seen_enough_ends_it_silently():
    line = f"{sys.executable} -m flow_models batch status --dry-run | head -1; exit ${{PIPESTATUS[0]}}"
    done = command("bash", "-c", line, AWS_DEFAULT_REGION="us-east-1")
    assert (done.stdout, done.stderr, done.returncode) == ("{\n", "", 141)


# --- inside a container


def test_the_command_of_a_container():
    given = ["train_flowmodels1.py", "--depth", "3", "--output-dir", "s3://b/n"]
    assert entry.arguments(given, {}) == [*given, "--mlflow=false"]
    assert entry.arguments([*given, "--tracking-uri=http://y"], {}) == [*given, "--tracking-uri=http://y"]
    tracked = {"MLFLOW_TRACKING_URI": "http://x"}
    assert entry.arguments(given, tracked) == entry.arguments(given, tracked | {"AWS_BATCH_JOB_ATTEMPT": "1"}) == given
    assert entry.arguments(given, tracked | {"AWS_BATCH_JOB_ATTEMPT": "2"}) == [*given, "--resume"]
    for wrong in ([], ["bash"]):
        with pytest.raises(UserError, match="the command of a job begins with a script"):
            entry.arguments(wrong, {})


def test_each_child_of_an_array_has_its_setting_and_its_folder():
    given = ["train_flowmodels1.py", "--output-dir", "s3://b/runs/x"]
    grid = "seed=0,1 hidden=[32,32],[64,64] depth=3"
    seen = set()
    for index in range(4):
        told = {"FLOW_MODELS_SWEEP": grid, "AWS_BATCH_JOB_ARRAY_INDEX": str(index), "MLFLOW_TRACKING_URI": "http://x"}
        seen.add(tuple(entry.arguments(given, told)[2:]))
    assert seen == {
        (f"s3://b/runs/x/{i:03d}-seed={s}-hidden=_{h}_{h}_-depth=3", f"--seed={s}", f"--hidden=[{h},{h}]", "--depth=3")
        for i, (s, h) in enumerate([(0, 32), (0, 64), (1, 32), (1, 64)])
    }
    with pytest.raises(UserError, match="AWS_BATCH_JOB_ARRAY_INDEX is not"):
        entry.arguments(given, {"FLOW_MODELS_SWEEP": grid})
    assert sweep.count(sweep.parse(grid)) == 4


SAVES = """
import signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(30)
"""


def started(tmp_path: Path, text: str, **variables: str) -> subprocess.Popen:
    script = tmp_path / "train_test.py"
    script.write_text(textwrap.dedent(text))
    program = (
        "import sys; from flow_models.batch import entry; entry.PAUSE = 0.05; sys.exit(entry.run(sys.argv[1:], 0.05))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(script)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"} | variables,
    )


def test_sigterm_goes_on_to_the_run_and_its_status_comes_back(tmp_path):
    process = started(tmp_path, SAVES)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=20)[0], process.returncode) == ("saved\n", INTERRUPTED)


def test_the_notice_of_a_spot_instance_stops_the_run_two_minutes_ahead(tmp_path, answers):
    action = {"action": "terminate", "time": "2026-01-01T00:02:00Z"}
    answers.replies |= {"token": (200, "secret"), "instance-action": [(404, ""), (503, ""), (200, action)]}
    process = started(tmp_path, SAVES, AWS_EC2_METADATA_SERVICE_ENDPOINT=answers.address)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == INTERRUPTED and "saved" in said and "taken back at 2026-01-01T00:02:00Z" in said
    tokens = [
        headers.get("X-aws-ec2-metadata-token") for what, _, headers in answers.asked if what == "instance-action"
    ]
    assert {token for token in tokens if token} == {"secret"} or "secret" in str(answers.asked)


def test_a_run_that_saves_is_not_told_again(tmp_path):
    """A second signal in the middle of saving would break it off."""
    slow = SAVES.replace("def stop(*_):", "def stop(*_):\n    print('saving', flush=True)\n    time.sleep(0.5)")
    process = started(tmp_path, slow)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=20)[0], process.returncode) == ("saved\n", INTERRUPTED)


@pytest.mark.parametrize("text, status", [
    ("import sys; sys.exit(3)", 3),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
])  # fmt: skip
def test_the_status_of_the_run_is_that_of_the_container(tmp_path, text, status):
    process = started(tmp_path, text)
    process.communicate(timeout=20)
    assert process.returncode == status
