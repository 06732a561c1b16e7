"""AWS Batch: stack and jobs on a stand-in for AWS, requests, and the command line.

doc/aws_batch.md says what this and the other tests of AWS Batch prove, and what they do not.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aws_server import NOBODY, aws_server, resources  # noqa: F401

from flow_models import UserError
from flow_models.__main__ import main
from flow_models.aws_batch import Names, entry, image, jobs, parts, stack, watch
from flow_models.aws_batch.aws import Aws
from flow_models.aws_batch.jobs import Job
from flow_models.aws_batch.parts import Parts

ROOT = Path(__file__).parents[1]
TYPES = {
    "GpuInstanceTypes": "g5.xlarge,g5.2xlarge",
    "CpuInstanceTypes": "c6i,m6i",
}  # moto does not part defaults
UNKNOWN = (  # to the CloudFormation of moto
    "AWS::Batch::JobDefinition",
    "AWS::Batch::SchedulingPolicy",
    "AWS::CodeBuild::Project",
)


# --- the stack and jobs on a stand-in for AWS


def adapted(folder: Path) -> Path:
    """The template for moto, which wants a service role and knows no job definition of the
    template's form."""
    from cfnlint.decode import cfn_yaml

    text = json.loads(json.dumps(cfn_yaml.load(str(stack.TEMPLATE))))
    for name, each in list(text["Resources"].items()):
        if each["Type"] == "AWS::Batch::ComputeEnvironment":
            each["Properties"]["ServiceRole"] = {"Fn::GetAtt": ["JobRole", "Arn"]}
        each.get("Properties", {}).pop("SchedulingPolicyArn", None)
        if each["Type"] in UNKNOWN:
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
        known = {
            "GpuCount": "1",
            "GpuVcpus": "4",
            "CpuVcpus": "4",
            "GpuMemory": "14000",
            "CpuMemory": "7000",
            "SharedMemory": 2048,
            "TimeoutSeconds": 86400,
        }
        inside = next(iter(value.values()))
        return (
            inside.replace("${AWS::StackName}", "flow-models")
            if "Fn::Sub" in value
            else known.get(inside, "x")
            if isinstance(inside, str)
            else "x"
        )
    given = {key: each for key, each in value.items() if "Fn::If" not in str(each)[:10]}
    return {key[0].lower() + key[1:]: as_request(each) for key, each in given.items()}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, resources):
    """A client of the stand-in, with a deployed stack, its job definitions, and an image for
    GPU."""
    folder = tmp_path_factory.mktemp("aws")
    patch = pytest.MonkeyPatch()
    patch.setattr(stack, "TEMPLATE", adapted(folder))
    with aws_server(folder):
        aws = Aws()
        stack.deploy(aws, "flow-models", TYPES)
        for each in resources.values():
            if each["Type"] == "AWS::Batch::JobDefinition":
                aws.call("batch", "register_job_definition", **as_request(each["Properties"]))
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "a", "size": 1, "digest": "sha256:" + "0" * 64},
            "layers": [],
        }
        aws.call(
            "ecr",
            "put_image",
            repositoryName="flow-models",
            imageManifest=json.dumps(manifest),
            imageTag="gpu",
        )
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
    assert (
        f"#jobs/detail/{job}" in said
        and f"s3://{bucket}/runs/flowmodels1/mine" in said
        and "no server" in said
    )
    now = until_ended(deployed, job)
    assert (now["jobName"], now["status"]) == ("mine", "SUCCEEDED")
    command = [
        "train_flowmodels1.py",
        "--data",
        "moons",
        "--output-dir",
        f"s3://{bucket}/runs/flowmodels1/mine",
    ]
    assert now["container"]["command"] == command
    assert watch.status(deployed, "flow-models", "mine", wait=True) == 0
    assert "SUCCEEDED  mine" in capsys.readouterr().out
    assert watch.status(deployed, "flow-models") == 0 and job in capsys.readouterr().out


def test_an_array_has_a_child_for_each_setting(deployed):
    job = jobs.submit(deployed, "flow-models", Job("1", sweep="seed=0,1,2 depth=3,5", name="six"))
    now = watch.describe(deployed, "flow-models", job)
    assert now["arrayProperties"]["size"] == 6
    after = watch.describe(deployed, "flow-models", "six-results")
    assert after["dependsOn"] == [{"jobId": job}] and "arrayProperties" not in after
    told = {each["name"]: each["value"] for each in after["container"]["environment"]}
    assert (
        told["FLOW_MODELS_COLLECT"] == job and told["FLOW_MODELS_SWEEP"] == "seed=0,1,2 depth=3,5"
    )
    assert after["container"]["command"] == now["container"]["command"]
    with pytest.raises(UserError, match=f"has children: make batch-logs JOB={job}:0"):
        watch.logs(deployed, "flow-models", job)


def test_parts_of_a_command_are_children_of_an_array(deployed, monkeypatch):
    bucket = stack.outputs(deployed, "flow-models")["Bucket"]
    monkeypatch.setattr(image, "require", lambda *_: None)
    command = ("prepare", "s3://photos/all", f"s3://{bucket}/runs/shards", "--size", "64")
    asked = Parts(command, command[2], 3, memory=4000)
    job = parts.submit(deployed, "flow-models", asked)
    now = until_ended(deployed, job)
    assert now["arrayProperties"]["size"] == 3 and now["container"]["command"] == list(command)
    told = {"FLOW_MODELS_PARTS": "3", "AWS_BATCH_JOB_ARRAY_INDEX": "2"}
    for attempt in ("1", "2"):
        found = entry.arguments(command, told | {"AWS_BATCH_JOB_ATTEMPT": attempt})
        assert found == ["-m", "flow_models", *command, "--part", "2/3"]
    with pytest.raises(UserError, match="no child of an array"):
        entry.arguments(command, {"FLOW_MODELS_PARTS": "3"})
    with pytest.raises(UserError, match="jobs may write s3://.*/runs/... alone"):
        parts.submit(deployed, "flow-models", Parts(command, "s3://photos/shards", 3))


@pytest.mark.parametrize(
    "given, line",
    [
        ("1 --args='prepare s3://a s3://b'", "1 parts: an array job has 2 to 10,000"),
        ("3 --args='prepare s3://a /b'", "/b: the machine of a job is gone with the job"),
        ("3 --args='prepare s3://a'", "the following arguments are required: DEST"),
        ("3 --args='prepare s3://a s3://b --sizes 3'", "--sizes"),
        ("3 --args='interpolate s3://m 1 2'", "--part"),
        (f"3 --args='prepare \"{ROOT}\" s3://b'", "lies on this machine"),
        ("3 --timeout 3 --args='prepare s3://a s3://b'", "at least 60 seconds"),
    ],
)
def test_mistakes_in_parts_are_told_before_anything_is_sent(given, line, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(UserError, match=re.escape(line)):
        main(["batch", "parts", "--dry-run", *shlex.split(given)])


def test_a_stopped_run_goes_on_as_a_new_job_with_another_limit(deployed):
    bucket = stack.outputs(deployed, "flow-models")["Bucket"]
    stopped = Job("1", name="stopped", resume=True, timeout=172_800)
    place = f"s3://{bucket}/runs/flowmodels1/stopped"
    with pytest.raises(UserError, match=f"RESUME=1: there is no run in {place}; NAME= or"):
        jobs.submit(deployed, "flow-models", stopped)
    key = "runs/flowmodels1/stopped/config.yaml"
    deployed.call("s3", "put_object", Bucket=bucket, Key=key, Body=b"")
    job = jobs.submit(deployed, "flow-models", stopped)
    now = watch.describe(deployed, "flow-models", job)
    assert now["container"]["command"][1:] == ["--output-dir", place, "--resume"]
    assert now["timeout"] == {"attemptDurationSeconds": 172_800}
    later = {"MLFLOW_TRACKING_URI": "http://x", "AWS_BATCH_JOB_ATTEMPT": "2"}
    assert entry.arguments(now["container"]["command"], later) == now["container"]["command"]


def test_s3_has_a_free_route_and_several_machines_need_their_subnets(deployed):
    network = deployed.call("ec2", "describe_vpcs")["Vpcs"][0]["VpcId"]
    (endpoint,) = deployed.call("ec2", "describe_vpc_endpoints")["VpcEndpoints"]
    assert endpoint["VpcId"] == network and endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == "com.amazonaws.us-east-1.s3" and endpoint["RouteTableIds"]
    assert stack._without_endpoint(deployed, network) == "", "no route table takes a second one"
    with pytest.raises(UserError, match="no subnets for jobs of several machines.*NODE_SUBNETS="):
        jobs.submit(deployed, "flow-models", Job("1", nodes=2))


@pytest.mark.parametrize(
    "asked, line",
    [
        ({"app": "2", "gpus": 2}, "can take 4 vCPUs, 14,000 MiB, 2 GPUs: the largest of Gpu"),
        ({"app": "2", "vcpus": 9}, "g5.2xlarge, offers 8 vCPUs, 31,784 MiB, 1 GPUs at most; less"),
        ({"app": "1", "memory": 600_000, "device": "cpu"}, "the largest of CpuInstanceTypes, m6i."),
        ({"app": "1", "vcpus": 96, "device": "cpu"}, "MaxVcpus=64 does not allow a machine that l"),
        ({"app": "2", "nodes": 17}, "MaxVcpus=64 does not allow 17 machines that large; less of"),
    ],
)
def test_a_job_that_no_machine_can_take_is_not_sent(deployed, asked, line, monkeypatch):
    monkeypatch.setattr(image, "require", lambda *_: None)
    monkeypatch.setattr(jobs, "_require_route", lambda *_: None)
    monkeypatch.setattr(jobs, "sent", None)
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        jobs.submit(deployed, "flow-models", Job(**asked))
    assert "\n" not in str(caught.value)
    if "nodes" not in asked and "gpus" not in asked:
        sizes = {name: asked.get(name, 0) for name in ("vcpus", "memory")}
        to = stack.outputs(deployed, "flow-models")["Bucket"]
        command = ("prepare", "s3://photos/all", f"s3://{to}/runs/x")
        one = Parts(command, command[2], 3, asked.get("device", "gpu"), **sizes)
        with pytest.raises(UserError, match=re.escape(line)):
            parts.submit(deployed, "flow-models", one)


def ours(aws: Aws, key: str) -> str:
    return f"s3://{stack.outputs(aws, 'flow-models')['Bucket']}/{key}"


@pytest.mark.parametrize(
    "action, line",
    [
        (
            lambda aws: stack.outputs(aws, "other"),
            "no stack 'other' in us-east-1: make batch-deploy",
        ),
        (
            lambda aws: stack.delete(aws, "other"),
            "no stack 'other' in us-east-1: there is nothing to delete",
        ),
        (
            lambda aws: watch.status(aws, "other"),
            "no queue 'other-gpu' in us-east-1: make batch-deploy",
        ),
        (
            lambda aws: watch.status(aws, "flow-models", "nothing"),
            "job 'nothing': no job has this id or name",
        ),
        (
            lambda aws: watch.logs(aws, "flow-models", NOBODY),
            f"job '{NOBODY}': there is none in us-east-1",
        ),
        (
            lambda aws: jobs.submit(aws, "flow-models", Job("1", device="cpu")),
            "no cpu image yet: make batch-build DEVICE=cpu",
        ),
        (
            lambda aws: stack.deploy(aws, "new", {"VpcId": "vpc-1"}),
            "a network needs both: VPC=vpc-... and SUBNETS=",
        ),
        (lambda aws: stack.deploy(aws, "new", {"Spott": "true"}), "did you mean 'Spot'"),
        (
            lambda aws: stack.deploy(aws, "new", {"TrackingUri": "https://me:secret@host"}),
            "TRACKING_URI= without user and password",
        ),
        (
            lambda aws: jobs.submit(aws, "flow-models", Job("1", output=ours(aws, "build/x"))),
            "build/x: of this bucket jobs may write s3://",
        ),
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

    with pytest.raises(
        UserError,
        match="no queue 'flow-models-gpu' in us-east-1 that takes jobs: make batch-deploy",
    ):
        jobs.submit(Elsewhere(), "flow-models", Job("1"))


def test_the_stack_goes_and_the_bucket_stays(tmp_path, deployed, capsys):
    subnet = deployed.call("ec2", "describe_subnets")["Subnets"][0]["SubnetId"]
    stack.deploy(deployed, "second", TYPES | {"NodeSubnetIds": subnet})
    jobs._require_route("second", stack.outputs(deployed, "second"))
    stack.delete(deployed, "second")
    assert re.search(
        r"stack 'second' is deleted; the runs in s3://\S+ stay", capsys.readouterr().out
    )
    assert stack.describe(deployed, "second") is None


# --- requests, and mistakes that never become one


def test_requests_of_all_kinds_of_jobs():
    names = Names("s")
    one = jobs.request(Job("2", ("--steps", "9"), gpus=2, memory=30000), names, "n", "s3://b/n")
    assert one["jobQueue"] == one["jobDefinition"] == "s-gpu" and one["propagateTags"]
    assert re.fullmatch("[A-Za-z0-9]+", one["shareIdentifier"])
    assert jobs.request(Job("2", share="me"), names, "n", "s3://b/n")["shareIdentifier"] == "me"
    assert one["containerOverrides"] == {
        "command": ["train_flowmodels2.py", "--steps", "9", "--output-dir", "s3://b/n"],
        "resourceRequirements": [
            {"type": "GPU", "value": "2"},
            {"type": "MEMORY", "value": "30000"},
        ],
    }
    several = jobs.request(Job("2", nodes=4, device="cpu"), names, "n", "s3://b/n")
    assert several["jobQueue"] == "s-cpu-nodes" and several["nodeOverrides"]["numNodes"] == 4
    every = several["nodeOverrides"]["nodePropertyOverrides"]
    assert [each["targetNodes"] for each in every] == ["0:"] and "containerOverrides" not in several
    assert every[0]["containerOverrides"]["command"][-2:] == ["--strategy", "multiworker"]
    array = jobs.request(Job("1", sweep="seed=0,1,2"), names, "n", "s3://b/n")
    assert array["arrayProperties"] == {"size": 3}
    judged = jobs.request(Job("4", sweep="seed=0,1", metric="accuracy"), names, "n", "s3://b/n")
    assert {"name": "FLOW_MODELS_METRIC", "value": "accuracy"} in judged["containerOverrides"][
        "environment"
    ]
    assert array["containerOverrides"]["environment"] == [
        {"name": "FLOW_MODELS_SWEEP", "value": "seed=0,1,2"}
    ]


@pytest.mark.parametrize(
    "job, line",
    [
        ({"app": "9"}, "there is no application '9'"),
        ({"app": "1", "arguments": ("--stps", "3")}, "no flag --stps; did you mean --steps?"),
        ({"app": "1", "arguments": ("--steps", "none")}, "--steps: Expected a int"),
        (
            {"app": "1", "arguments": ("--config", "c.yaml")},
            "--config: a job has no file of this machine",
        ),
        (
            {"app": "1", "arguments": ("--output_dir=x",)},
            "--output_dir=x: a job has no file of this machine",
        ),
        ({"app": "1", "sweep": "depth=3,five"}, "--depth: Expected a int"),
        ({"app": "1", "sweep": "resume=true,false"}, "--resume: a job has"),
        ({"app": "1", "sweep": "seed=1"}, "1 settings; a sweep has 2 to 10,000"),
        ({"app": "1", "sweep": "seed"}, "'seed' is not of the form setting=value,value"),
        ({"app": "1", "sweep": "seed=0,1", "nodes": 2}, "each job of a sweep runs on one machine"),
        ({"app": "1", "nodes": 0}, "0 nodes"),
        (
            {"app": "1", "arguments": ("--tracking-uri=https://me:s@x@host",)},
            "--tracking-uri=https://host: DescribeJobs and the log would show",
        ),
        ({"app": "1", "timeout": 30}, "TIMEOUT=30: at least 60 seconds"),
        ({"app": "1", "share": "a b"}, "SHARE=a b: letters and digits"),
        ({"app": "1", "resume": True}, "RESUME=1 needs NAME= or OUTPUT="),
        ({"app": "1", "gpus": 2, "device": "cpu"}, "2 GPUs for a job on CPUs: DEVICE=gpu"),
        (
            {"app": "1", "arguments": ("--data", __file__)},
            "lies on this machine, where the job is not: put it into S3",
        ),
        ({"app": "1", "name": "a b"}, "name 'a b': up to 128 of"),
        (
            {"app": "1", "output": "/tmp/x"},
            "output '/tmp/x': the machine of a job is gone with the job",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(job, line):
    with pytest.raises(UserError, match=re.escape(line)):
        jobs.check_arguments(Job(**job))


# --- the command line


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    surroundings = (
        cleared
        | {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "VIRTUAL_ENV": sys.prefix,
        }
        | variables
    )
    return subprocess.run(arguments, cwd=ROOT, env=surroundings, capture_output=True, text=True)


def test_no_region_and_no_credentials_are_one_line_and_status_2():
    asked = (sys.executable, "-m", "flow_models", "batch", "status")
    done = command(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("error: no region is set: export AWS_DEFAULT_REGION=")
        and done.stderr.count("\n") == 1
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
        (
            ["batch-build", "DEVICE=cpu"],
            ["PutObject", "StartBuild", "flow-models-image", "UpdateStack", '"CpuImage"'],
        ),
        (
            ["batch-submit", "APP=1", "DEVICE=gpu", "NODES=4", "ARGS=--columns '[a, \"b c\"]'"],
            ["SubmitJob", "flow-models-gpu-nodes", '"numNodes": 4', r'"[a, \"b c\"]"'],
        ),
        (
            [
                "batch-submit",
                "APP=2",
                "DEVICE=cpu",
                "SWEEP=seed=0,1 batch_size=32,64",
                "OUTPUT=s3://b/x",
            ],
            [
                '"flow-models-cpu"',
                '"size": 4',
                "seed=0,1 batch_size=32,64",
                "s3://b/x",
                "FLOW_MODELS_COLLECT",
                '"dependsOn"',
            ],
        ),
        (
            ["batch-submit", "APP=1", "NAME=mine", "RESUME=1", "TIMEOUT=7200", "SHARE=me"],
            [
                '"flow-models-cpu"',
                '"shareIdentifier": "me"',
                "DescribeInstanceTypes",
                "ListObjectsV2",
                "--resume",
                '"attemptDurationSeconds": 7200',
            ],
        ),
        (
            ["batch-parts", "PARTS=100", "ARGS=prepare s3://b/photos s3://b/runs/shards --size 64"],
            ['"flow-models-cpu"', '"size": 100', '"FLOW_MODELS_PARTS"', '"prepare"', '"64"'],
        ),
        (["batch-cancel", f"JOB={NOBODY}", "STACK=mine"], ["TerminateJob", NOBODY]),
        (["batch-logs", f"JOB={NOBODY}", "STACK=mine"], ["GetLogEvents", "/flow-models/mine"]),
        (["batch-delete", "STACK=mine"], ["DeleteStack", '"mine"']),
    ],
)
def test_make_shows_what_it_would_send_without_credentials(arguments, shown):
    """Either way of naming a region."""
    region = {("AWS_REGION", "AWS_DEFAULT_REGION")[len(arguments) % 2]: "us-east-1"}
    done = command("make", *arguments, "DRY_RUN=1", **region)
    assert done.returncode == 0, done.stderr
    assert [each for each in shown if each not in done.stdout] == []


def test_a_reader_that_has_seen_enough_ends_it_silently():
    read, write = os.pipe()
    os.close(read)  # at once: a reader such as head may be slower to go than the command is to end
    asked = [sys.executable, "-m", "flow_models", "batch", "status", "--dry-run"]
    place = os.environ | {"AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(asked, cwd=ROOT, env=place, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.stderr, done.returncode) == (b"", 141)
