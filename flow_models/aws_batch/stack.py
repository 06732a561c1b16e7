"""The stack of awsbatch-support/template.yaml: its outputs, deployment and deletion."""

from __future__ import annotations

import time
from collections.abc import Mapping

from flow_models.aws_batch import watch
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import UserError
from flow_models.core.failures import pick
from flow_models.core.installed import REPOSITORY, repository_file
from flow_models.runs.tracking.folder import public

TEMPLATE = REPOSITORY / "awsbatch-support" / "template.yaml"
PAUSE = 5.0  # seconds between looks at a stack that changes
_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")
_BROKEN = (
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "CREATE_FAILED",
    "DELETE_FAILED",
    "REVIEW_IN_PROGRESS",
)
_NETWORK = ("VpcId", "SubnetIds")


def describe(aws: Aws, stack: str) -> dict | None:
    """The stack as CloudFormation describes it; None if there is none, and in a dry run."""
    try:
        stacks = aws.call("cloudformation", "describe_stacks", StackName=stack).get("Stacks", [])
    except AwsError as error:
        if error.code == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    return stacks[0] if stacks else None


def outputs(aws: Aws, stack: str) -> dict[str, str]:
    """Outputs of a deployed stack: Bucket, Repository, TrackingUri, NodeSubnets; placeholders in a
    dry run.

    Raises:
      UserError: no such stack in this region, or it is not ready.
    """
    if aws.dry:
        names = {"Bucket": f"bucket-of-{stack}", "Repository": stack}
        return names | {"TrackingUri": "none", "NodeSubnets": "its-subnets-of-nodes"}
    found = describe(aws, stack)
    if found is None:
        raise UserError(
            f"no stack '{stack}' in {aws.region}: make batch-deploy first, or name yours with"
            " STACK="
        )
    if found["StackStatus"] in _BROKEN:
        raise UserError(
            f"stack '{stack}' is {found['StackStatus']}: make batch-delete, then make batch-deploy"
        )
    if found["StackStatus"] in ("CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS"):
        raise UserError(
            f"stack '{stack}' is not ready ({found['StackStatus']}): try again once that is done"
        )
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def parameters(aws: Aws, stack: str) -> dict[str, str]:
    """Values of the template's parameters in a deployed stack; in a dry run their defaults."""
    if aws.dry:
        return {k: str(each.get("Default", "")) for k, each in template()["Parameters"].items()}
    there = describe(aws, stack) or {}
    return {each["ParameterKey"]: each["ParameterValue"] for each in there.get("Parameters", [])}


def set_image(aws: Aws, stack: str, device: str, tag: str) -> None:
    """Lets the jobs that are sent from now on have this image; those that are there keep theirs.

    Raises:
      UserError: the stack is older than these sources, or AWS refuses.
    """
    name, now = image_parameter(device), parameters(aws, stack)
    if now[name] == tag:
        return
    kept: list[dict] = [{"ParameterKey": each, "UsePreviousValue": True} for each in now]
    kept = [each for each in kept if each["ParameterKey"] != name]
    changed = {"ParameterKey": name, "ParameterValue": tag}
    _send(aws, stack, True, [changed, *kept], {"UsePreviousTemplate": True})


def image_parameter(device: str) -> str:
    """The parameter of the template that names the image of a device."""
    return f"{device.capitalize()}Image"


def deploy(aws: Aws, stack: str, given: Mapping[str, str]) -> None:
    """Makes the stack, or changes it to the present template, and waits until that is done.

    Args:
      given: values of the template's parameters. An existing stack keeps those that are not given.

    Raises:
      UserError: an unknown parameter, a stack that is being changed or is broken, or AWS refuses.
    """
    known = template()["Parameters"]
    for name in given:
        pick(known, name, "parameter of the template")
    if public(given.get("TrackingUri", "")) != given.get("TrackingUri", ""):
        raise UserError(
            "TRACKING_URI= without user and password, which descriptions of the stack and of jobs"
            " would show: keep them in Secrets Manager, and give TRACKING_SECRET=arn:..."
        )
    there = None if aws.dry else describe(aws, stack)
    status = there["StackStatus"] if there else ""
    if status in _BROKEN:
        raise UserError(
            f"stack '{stack}' is {status}: make batch-delete, then make batch-deploy again"
        )
    if status.endswith("_IN_PROGRESS"):
        raise UserError(
            f"stack '{stack}' is being changed already ({status}): try again once that is done"
        )
    values = dict(given)
    if not there:
        values = {**_default_network(aws, given), **given}
        values = {"RouteTableIds": _without_endpoint(aws, values["VpcId"]), **values}
    kept = [each["ParameterKey"] for each in there["Parameters"]] if there else []
    sent: list[dict[str, str | bool]] = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in values.items()
    ]
    sent += [
        {"ParameterKey": name, "UsePreviousValue": True} for name in kept if name not in values
    ]
    _send(aws, stack, there is not None, sent)


def delete(aws: Aws, stack: str) -> None:
    """Takes the stack down with its images and logs; the bucket and its runs stay.

    Raises:
      UserError: no such stack, or some of its jobs have not ended.
    """
    if aws.dry:
        aws.call("cloudformation", "delete_stack", StackName=stack)
        return
    there = describe(aws, stack)
    if there is None:
        raise UserError(f"no stack '{stack}' in {aws.region}: there is nothing to delete")
    whole = there["StackStatus"] not in _BROKEN
    jobs = watch.listed(aws, stack, watch.UNFINISHED) if whole else []
    if jobs:
        raise UserError(
            f"{len(jobs)} jobs of '{stack}' have not ended: make batch-cancel"
            f" JOB={jobs[0]['jobId']} first"
        )
    stays = f"; the runs in s3://{outputs(aws, stack)['Bucket']} stay" if whole else ""
    aws.call("cloudformation", "delete_stack", StackName=stack)
    _wait(aws, stack)
    print(f"stack '{stack}' is deleted{stays}")


def template() -> dict:
    """The template as plain data, without the values of CloudFormation's own tags."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, tag, node: None)
    return yaml.load(repository_file(TEMPLATE).read_text(), Loader)


def _default_network(aws: Aws, given: Mapping[str, str]) -> dict[str, str]:
    """The account's default network and all its subnets, unless a network is given."""
    if any(name in given for name in _NETWORK):
        if not all(name in given for name in _NETWORK):
            raise UserError("a network needs both: VPC=vpc-... and SUBNETS=subnet-...,subnet-...")
        return {}
    if aws.dry:
        return {"VpcId": "the-default-vpc", "SubnetIds": "its-subnets"}
    networks = aws.call(
        "ec2", "describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]
    )["Vpcs"]
    if not networks:
        raise UserError(
            f"no default network in {aws.region}: give VPC=vpc-... SUBNETS=subnet-...,subnet-..."
        )
    here = [{"Name": "vpc-id", "Values": [networks[0]["VpcId"]]}]
    subnets = aws.call("ec2", "describe_subnets", Filters=here)["Subnets"]
    return {
        "VpcId": networks[0]["VpcId"],
        "SubnetIds": ",".join(sorted(each["SubnetId"] for each in subnets)),
    }


def _without_endpoint(aws: Aws, network: str) -> str:
    """Route tables of the network that have no gateway to S3 yet: none takes a second one."""
    if aws.dry:
        return "its-route-tables"
    here = [{"Name": "vpc-id", "Values": [network]}]
    tables = aws.call("ec2", "describe_route_tables", Filters=here)["RouteTables"]
    to_s3 = [{"Name": "service-name", "Values": [f"com.amazonaws.{aws.region}.s3"]}]
    found = aws.call("ec2", "describe_vpc_endpoints", Filters=here + to_s3)["VpcEndpoints"]
    taken = {table for each in found for table in each.get("RouteTableIds", [])}
    return ",".join(sorted({each["RouteTableId"] for each in tables} - taken))


def _send(
    aws: Aws, stack: str, exists: bool, parameters: list[dict], source: Mapping | None = None
) -> None:
    operation = "update_stack" if exists else "create_stack"
    try:
        aws.call(
            "cloudformation",
            operation,
            StackName=stack,
            **(source or {"TemplateBody": TEMPLATE.read_text()}),
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "project", "Value": "flow_models"}],
        )
    except AwsError as error:
        if "No updates are to be performed" not in str(error):
            raise
        print(f"stack '{stack}' in {aws.region} is deployed already, and nothing in it changes")
        return
    if aws.dry:
        return
    _wait(aws, stack)
    if not source:
        print(
            f"stack '{stack}' in {aws.region} is {'changed' if exists else 'deployed'}; next: make"
            " batch-build"
        )


def _wait(aws: Aws, stack: str) -> None:
    """Waits until the stack is at rest. Raises UserError, with the first failure, if it failed."""
    while (there := describe(aws, stack)) and there["StackStatus"].endswith("_IN_PROGRESS"):
        time.sleep(PAUSE)
    if there is None or there["StackStatus"] in _DONE:
        return
    events = aws.call("cloudformation", "describe_stack_events", StackName=stack)["StackEvents"]
    failed = [each for each in events if each["ResourceStatus"].endswith("_FAILED")]
    why = "no reason given"
    if failed:  # the newest event comes first
        why = f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', '')}"
    raise UserError(f"stack '{stack}' ended as {there['StackStatus']}; {why[:300]}")
