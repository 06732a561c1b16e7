"""Whether any machine of a stack can take a job: asked before the job waits for one in vain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws
from flow_models.core.errors import UserError

USABLE = 0.97  # of a machine's memory, at most; system and agent take the rest
_OF_BATCH = ("optimal", "default_x86_64", "default_arm64")  # types that AWS Batch chooses


class Size(NamedTuple):
    """What a machine has, or a job asks of it; memory in MiB."""

    vcpus: int
    memory: int
    gpus: int

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return f"{self.vcpus} vCPUs, {self.memory:,} MiB{gpus}"

    def holds(self, other: Size) -> bool:
        """Whether the other one is nowhere larger."""
        return all(mine >= theirs for mine, theirs in zip(self, other))


def require(aws: Aws, stack: str, device: str, asked: Size, machines: int = 1) -> None:
    """Raises UserError where no machine that the stack may start can take the job.

    Args:
      asked: 0 stands for what is deployed.
    """
    deployed, kind = stacks.parameters(aws, stack), device.capitalize()
    names = (f"{kind}Vcpus", f"{kind}Memory", "GpuCount" if device == "gpu" else "")
    wanted = Size(*(a or int(deployed.get(name) or 0) for a, name in zip(asked, names)))
    types = re.findall(r"[\w.-]+", deployed[f"{kind}InstanceTypes"])
    if set(types) & set(_OF_BATCH):
        return
    there, most = _machines(aws, types), int(deployed["MaxVcpus"])
    fitting = [each for each in there.values() if each.holds(wanted)]
    if aws.dry or any(each.vcpus * machines <= most for each in fitting):
        return
    if not there:
        raise UserError(f"{kind}InstanceTypes={','.join(types)}: {aws.region} has none of these")
    _refuse(stack, kind, wanted, there if not fitting else {}, (machines, most))


def _machines(aws: Aws, types: list[str]) -> dict[str, Size]:
    """What instances of these types and families have."""
    values = [name if "." in name else f"{name}.*" for name in types]
    found: dict[str, Size] = {}
    more: dict[str, str] = {}
    chosen = [{"Name": "instance-type", "Values": values}]
    while True:
        page = aws.call("ec2", "describe_instance_types", Filters=chosen, **more)
        found |= {each["InstanceType"]: _size(each) for each in page.get("InstanceTypes", [])}
        if not page.get("NextToken"):
            return found
        more = {"NextToken": page["NextToken"]}


def _size(each: Mapping) -> Size:
    gpus = sum(gpu["Count"] for gpu in each.get("GpuInfo", {}).get("Gpus", []))
    memory = int(each["MemoryInfo"]["SizeInMiB"] * USABLE)
    return Size(each["VCpuInfo"]["DefaultVCpus"], memory, gpus)


def _refuse(stack: str, kind: str, wanted: Size, there: dict[str, Size], most: tuple) -> None:
    """Raises the UserError; `there` is empty where the number of vCPUs alone is the reason."""
    if there:
        name = max(there, key=lambda each: there[each])
        why = f"the largest of {kind}InstanceTypes, {name}, offers {there[name]} at most"
    else:
        machines = f"{most[0]} machines" if most[0] > 1 else "a machine"
        why = f"MaxVcpus={most[1]} does not allow {machines} that large"
    raise UserError(
        f"no machine of stack '{stack}' can take {wanted}: {why}; less of GPUS= VCPUS= MEMORY=, or"
        f" make batch-deploy PARAMETERS=..."
    )
