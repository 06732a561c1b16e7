"""AWS Batch: the template, the Dockerfile, and the sources that an image is made of."""

import ast
import email
import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from aws_server import resources  # noqa: F401
from servers import s3  # noqa: F401

from flow_models import aws_batch
from flow_models.aws_batch import image
from flow_models.core import storage
from flow_models.core.errors import EX_TEMPFAIL, UserError

TRACKED = ("https://", "https://me:secret@")
ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "awsbatch-support"


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_template_passes_cfn_lint():
    done = subprocess.run(
        [program("cfn-lint"), "-r", "us-east-1", "eu-central-1", "--", SUPPORT / "template.yaml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_dockerfile_passes_hadolint_and_copies_what_the_archive_holds():
    done = subprocess.run(
        [program("hadolint"), SUPPORT / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    text = (SUPPORT / "Dockerfile").read_text()
    names = zipfile.ZipFile(io.BytesIO(image.archive())).namelist()
    for what in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for pattern in what.split():
            assert any(
                Path(name).match(pattern) or name.startswith(f"{pattern}/") for name in names
            ), pattern
    base = re.search(r"^ARG BASE=(\S+)\nFROM \$BASE AS packages$", text, re.MULTILINE)[1]
    assert re.fullmatch(
        r"public\.ecr\.aws/docker/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base
    )
    assert (
        text.index("USER 1000") < text.index("ENTRYPOINT")
        and '"flow_models.aws_batch.entry"' in text
    )
    assert "# tests" in (ROOT / "requirements.txt").read_text(), (
        "the Dockerfile leaves out what is below this line"
    )


@pytest.mark.parametrize(
    "device, line", [("gpu", "tensorflow[and-cuda]==2.21.0"), ("cpu", "tensorflow==2.21.0")]
)
def test_the_image_installs_what_a_device_needs_and_nothing_of_the_tests(tmp_path, device, line):
    done = in_dockerfile(tmp_path, device)
    installed = done.stdout.splitlines()
    assert (
        done.returncode == 0 and line in installed and "tensorflow-probability==0.25.0" in installed
    )
    assert not [
        each
        for each in installed
        if each.startswith(("pytest", "moto", "seaweedfs", "cfn-lint", "hadolint"))
    ]


def test_the_image_is_not_built_for_another_device(tmp_path):
    done = in_dockerfile(tmp_path, "tpu")
    assert (done.returncode, done.stdout) == (
        2,
        "",
    ) and "DEVICE is gpu or cpu, not 'tpu'" in done.stderr


def in_dockerfile(folder: Path, device: str) -> subprocess.CompletedProcess:
    """Runs the step of the Dockerfile that installs, with a `pip` that prints the file it is
    given."""
    text = (SUPPORT / "Dockerfile").read_text().replace("\\\n", " ")
    step = next(
        line[4:] for line in text.splitlines() if line.startswith("RUN") and "pip install" in line
    )
    (folder / "pip").write_text('#!/bin/sh\ncat "$3"\n')
    (folder / "pip").chmod(0o755)
    surroundings = {"PATH": f"{folder}:{os.environ['PATH']}", "DEVICE": device}
    step = step.replace("/tmp/", f"{folder}/")
    return subprocess.run(
        ["sh", "-c", step], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )


def test_archive_is_small_whole_and_the_same_each_time():
    first, second = image.archive(), image.archive()
    assert first == second and len(first) < 2_000_000
    names = set(zipfile.ZipFile(io.BytesIO(first)).namelist())
    assert {
        "awsbatch-support/Dockerfile",
        "flow_models/runs/templates/report.html",
        "train_flowmodels1.py",
    } <= names
    assert not [
        name for name in names if name.startswith(("tests", "runs", ".")) or name.endswith(".pyc")
    ]


def test_a_job_starts_from_the_archive_alone(tmp_path):
    zipfile.ZipFile(io.BytesIO(image.archive())).extractall(tmp_path)
    first = [sys.executable, "-m", "flow_models.aws_batch.entry", "train_flowmodels1.py", "--help"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(first, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0 and "--architecture" in done.stdout, done.stderr


def test_every_job_is_retried_after_a_lost_host_a_failed_start_and_an_interruption_alone(resources):
    found = [
        each["Properties"]
        for each in resources.values()
        if each["Type"] == "AWS::Batch::JobDefinition"
    ]
    assert len(found) == 4
    for job in found:
        assert job["RetryStrategy"]["EvaluateOnExit"] == [
            {"Action": "RETRY", "OnStatusReason": "Host EC2*"},
            {"Action": "RETRY", "OnReason": "CannotPull*"},
            {"Action": "RETRY", "OnReason": "DockerTimeout*"},
            {"Action": "RETRY", "OnExitCode": str(EX_TEMPFAIL)},
            {"Action": "EXIT", "OnReason": "*"},
        ]
        assert job["Timeout"]["AttemptDurationSeconds"] == {"Ref": "TimeoutSeconds"}


def test_several_machines_are_never_spot_and_may_talk_to_each_other(resources):
    kinds = {
        name: each["Properties"]["ComputeResources"]["Type"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Batch::ComputeEnvironment"
    }
    spot = {"Fn::If": ["UseSpot", "SPOT", "EC2"]}
    assert kinds == {
        "GpuEnvironment": spot,
        "CpuEnvironment": spot,
        "GpuNodesEnvironment": "EC2",
        "CpuNodesEnvironment": "EC2",
    }
    between = resources["BetweenWorkers"]["Properties"]
    assert between["GroupId"] == between["SourceSecurityGroupId"] and between["IpProtocol"] == "-1"
    for name in ("GpuNodesJob", "CpuNodesJob"):
        nodes = resources[name]["Properties"]["NodeProperties"]
        assert nodes["MainNode"] == 0 and nodes["NodeRangeProperties"][0]["TargetNodes"] == "0:"


def test_instances_give_jobs_time_to_save(resources):
    launch = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    parts = email.message_from_string(launch["UserData"]["Fn::Base64"]).get_payload()
    script = parts[0].get_payload()
    assert parts[0].get_content_type() == "text/x-shellscript" and script.startswith(
        "#!/bin/bash\n"
    )
    seconds = int(re.search(r"ECS_CONTAINER_STOP_TIMEOUT=(\d+)s >> /etc/ecs/ecs.config", script)[1])
    assert 30 < seconds < 120, "more than AWS gives by default, less than a spot instance has"
    assert launch["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
    }


@pytest.mark.parametrize("disks", ["", "/dev/nvme1n1\n/dev/nvme2n1\n"])
def test_the_own_disk_of_a_machine_is_for_what_jobs_keep(resources, tmp_path, disks):
    """The script runs, with stand-ins for the programs that need a disk."""
    launch = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    script = email.message_from_string(launch["UserData"]["Fn::Base64"]).get_payload()[0]
    text = script.get_payload().replace("/scratch", f"{tmp_path}/scratch")
    text = text.replace("/etc/ecs/ecs.config", f"{tmp_path}/ecs.config")
    listed = [f"{disk} Amazon EC2 NVMe Instance Storage" for disk in disks.split()]
    (tmp_path / "listed").write_text("\n".join(["/dev/nvme0n1 Amazon Elastic Block", *listed]))
    for name, does in (
        ("lsblk", f"cat {tmp_path}/listed"),
        ("mkfs.xfs", f'echo mkfs "$@" >> {tmp_path}/done'),
        ("mount", f'echo mount "$@" >> {tmp_path}/done'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    surroundings = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-e", "-c", text], env=surroundings, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    told = (tmp_path / "done").read_text() if disks else ""
    asked = f"mkfs -f /dev/nvme1n1\nmount -o noatime /dev/nvme1n1 {tmp_path}/scratch\n"
    assert told == (asked if disks else "")
    assert (tmp_path / "ecs.config").read_text().count("\n") == 2
    assert (tmp_path / "scratch" / "cache").stat().st_uid == 1000


def test_every_job_has_that_disk_for_its_caches(resources):
    for name in ("GpuJob", "CpuJob", "GpuNodesJob", "CpuNodesJob"):
        job = resources[name]["Properties"]
        nodes = job.get("NodeProperties", {}).get("NodeRangeProperties", [{}])
        container = job.get("ContainerProperties") or nodes[0]["Container"]
        volume = {"Name": "scratch", "Host": {"SourcePath": "/scratch/cache"}}
        assert container["Volumes"] == [volume]
        mounted = {"SourceVolume": "scratch", "ContainerPath": "/scratch/cache"}
        assert container["MountPoints"] == [mounted]
        assert {"Name": "XDG_CACHE_HOME", "Value": "/scratch/cache"} in container["Environment"]


def test_who_used_least_comes_first(resources):
    queues = [each["Properties"] for each in resources.values() if "JobQueue" in each["Type"]]
    policies = [each["SchedulingPolicyArn"] for each in queues]
    assert policies == [{"Fn::GetAtt": ["Shares", "Arn"]}] * 4
    assert resources["Shares"]["Properties"]["FairsharePolicy"]["ShareDecaySeconds"] == 86400


def test_roles_may_do_no_more_than_they_need(resources):
    roles = {
        name: each["Properties"]
        for name, each in resources.items()
        if each["Type"] == "AWS::IAM::Role"
    }
    assert set(roles) == {"JobRole", "InstanceRole", "BuildRole", "SecretRole"}
    wide = set()
    for role in roles.values():
        assert "ManagedPolicyArns" not in role
        for policy in role.get("Policies", ()):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = (
                    statement["Action"]
                    if isinstance(statement["Action"], list)
                    else [statement["Action"]]
                )
                assert not [action for action in actions if re.fullmatch(r"(\w+:)?\*", action)]
                wide |= set(actions) if statement["Resource"] == "*" else set()
    assert {action.partition(":")[0] for action in wide} == {"ecs", "ec2", "ecr"}
    assert [each for each in wide if each.startswith("ecr")] == ["ecr:GetAuthorizationToken"]
    job = json.dumps(roles["JobRole"]["Policies"])
    assert set(re.findall(r'"(\w+):[A-Z]\w+"', job)) == {"s3"}
    statements = roles["JobRole"]["Policies"][0]["PolicyDocument"]["Statement"]
    places = {
        action: statement["Resource"]["Fn::Sub"][0].rpartition(":::")[2]
        for statement in statements
        for action in statement["Action"]
    }
    writing = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
    assert [places[action] for action in writing] == ["${Name}/runs/*"] * 3, "not build/"


def test_passwords_are_in_no_output_and_no_variable_that_describe_jobs_shows(resources):
    from cfnlint.decode import cfn_yaml

    whole = json.loads(json.dumps(cfn_yaml.load(str(SUPPORT / "template.yaml"))))
    pattern = whole["Parameters"]["TrackingUri"]["AllowedPattern"]
    assert [bool(re.fullmatch(pattern, f"{text}host:5000")) for text in TRACKED] == [True, False]
    assert "TrackingSecret" not in json.dumps(whole["Outputs"])
    text = json.dumps([each for each in resources.values() if "JobDefinition" in each["Type"]])
    for what in ("USERNAME", "PASSWORD"):
        secret = f'{{"Name": "MLFLOW_TRACKING_{what}", "ValueFrom": '
        assert text.count(secret) == 4 == text.count(f"MLFLOW_TRACKING_{what}")


def test_an_image_is_named_by_its_sources_and_takes_over_layers(resources):
    spec = resources["Build"]["Properties"]["Source"]["BuildSpec"]
    commands = yaml.safe_load(spec)["phases"]
    kept, build = commands["build"]["commands"]
    pushed = commands["post_build"]["commands"]
    assert pushed == ['docker push "$IMAGE:$DEVICE-$SOURCE"', 'docker push "$IMAGE:$DEVICE"']
    assert all(each.replace("docker push", "--tag") in build for each in pushed)
    base = '"$IMAGE:packages-$DEVICE-$PACKAGES"'
    assert kept.startswith(f"docker pull {base} || {{ ")
    assert f"--tag {base} . && docker push {base}; }}" in kept
    assert "--target packages " in kept and f'--build-arg "PACKAGES={base[1:]} ' in build
    assert os.system(f"sh -n -c {shlex.quote(kept)}") == 0
    text = (SUPPORT / "Dockerfile").read_text()
    first, second = text.split("FROM $PACKAGES\n")
    assert first.startswith("#") and "FROM $BASE AS packages\n" in first and "pip ins" in first
    assert "COPY flow" not in first and second.index("COPY flow_") < second.index("ARG SOURCE")
    for name, device in (("GpuJob", "Gpu"), ("CpuNodesJob", "Cpu")):
        assert f"/${{Repository}}:${{{device}Image}}" in json.dumps(resources[name])[:3000].replace(
            "${AWS::URLSuffix}", ""
        )


def test_a_job_that_no_machine_fits_leaves_the_queue(resources):
    queues = [each["Properties"] for each in resources.values() if "JobQueue" in each["Type"]]
    assert len(queues) == 4
    for queue in queues:
        limits = {each["Reason"]: each for each in queue["JobStateTimeLimitActions"]}
        assert {each["State"] for each in limits.values()} == {"RUNNABLE"} and len(limits) == 3
        assert limits["MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"]["MaxTimeSeconds"] == 3600


# --- permissions, by the requests that the code sends

PAGE = ROOT / "doc" / "aws_batch.md"
SENT_BY = {
    "`batch-deploy`, `batch-delete`": ["stack.py"],
    "`batch-build`": ["image.py"],
    "`batch-submit`, `batch-parts`": ["jobs.py", "parts.py", "fitting.py"],
    "`batch-status`, `batch-logs`, `batch-cancel`": ["watch.py"],
}
BESIDE = {  # of other modules, and of parameters
    "`batch-build`": {
        "cloudformation:DescribeStacks",
        "cloudformation:UpdateStack",
        "batch:RegisterJobDefinition",
        "batch:DeregisterJobDefinition",
        "iam:PassRole",
    },
    "`batch-submit`, `batch-parts`": {
        "cloudformation:DescribeStacks",
        "ecr:DescribeImages",
        "batch:TagResource",
    },
}
ACTIONS = {"ListObjectsV2": "ListBucket"} | dict.fromkeys(
    ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "PutObject"
)


def action(service: str, operation: str) -> str:
    """The permission for an operation of boto3, `get_object` or `GetObject`."""
    name = "".join(word[0].upper() + word[1:] for word in operation.split("_"))
    return f"{service}:{ACTIONS.get(name, name)}"


def sent(module: str) -> set[str]:
    """Permissions for all that a module of aws_batch sends: `aws.call("batch", "submit_job", ...)`,
    and names of operations that it keeps in variables."""
    tree = ast.parse((Path(aws_batch.__file__).parent / module).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "call":
            service, operation = node.args[:2]
            if isinstance(operation, ast.Constant):
                found.add(action(service.value, operation.value))
            else:
                texts = [each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)]
                names = [text for text in texts if re.fullmatch(r"[a-z]+_stack", str(text))]
                found |= {action(service.value, name) for name in names}
    return found


def told() -> dict[str, set[str]]:
    """The table of the page: permissions of each row; a name without a service has the one
    before."""
    text = PAGE.read_text()
    table = text[text.index("| who | permissions |") :].partition("\n\n")[0]
    rows = {}
    for line in table.splitlines()[2:]:
        who, listed = line.strip("| ").split(" | ")
        service, rows[who] = "", set()
        for given, name in re.findall(r"`(?:(\w+):)?([A-Z]\w+)`", listed):
            service = given or service
            rows[who].add(f"{service}:{name}")
    return rows


def test_the_table_of_permissions_has_what_is_sent_and_no_more():
    found = told()
    assert set(found) == {*SENT_BY, "a job"}
    for who, modules in SENT_BY.items():
        assert found[who] == set.union(*map(sent, modules)) | BESIDE.get(who, set()), who


def test_a_job_may_send_what_it_sends(resources, s3, monkeypatch):
    """All that `core.storage` asks of S3, large objects and failed ones too."""
    asked, real = set(), storage.client().__class__._make_api_call

    def call(self, operation, parameters):
        asked.add(action("s3", operation))
        if parameters.get("PartNumber") == 2 and "broken" in parameters["Key"]:
            raise OSError("the network is gone")
        return real(self, operation, parameters)

    s3.client().create_bucket(Bucket="permissions")
    monkeypatch.setattr(storage.client().__class__, "_make_api_call", call)
    place, large = "s3://permissions/runs/x", bytes(9 * 2**20)
    storage.write_bytes(f"{place}/large", large)
    with pytest.raises(UserError):
        storage.write_bytes(f"{place}/broken", large)
    assert storage.read_bytes(f"{place}/large") == large and storage.exists(f"{place}/large")
    assert list(storage.list_files(place)) and storage.names(place) == {"large"}
    storage.delete(f"{place}/large")
    statements = resources["JobRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    allowed = {each for statement in statements for each in statement["Action"]}
    assert asked == told()["a job"] == allowed - {"s3:GetBucketLocation"}
