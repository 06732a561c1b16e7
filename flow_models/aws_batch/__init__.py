"""Training as jobs of AWS Batch: the stack, the image, the jobs, and what runs in a container.

    python -m flow_models batch deploy|build|submit|parts|status|logs|cancel|delete

See doc/aws_batch.md for how to use it. This package never loads TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

SWEEP_VARIABLE = "FLOW_MODELS_SWEEP"  # tells the children of an array job what to vary
COLLECT_VARIABLE = "FLOW_MODELS_COLLECT"  # the array job whose results a job collects
PARTS_VARIABLE = "FLOW_MODELS_PARTS"  # tells the children of an array job how many parts there are
DEVICES = ("gpu", "cpu")


@dataclass(frozen=True)
class Names:
    """How the template names the parts of a stack."""

    stack: str

    def queue(self, device: str, several: bool) -> str:
        """The queue, and the definition, of jobs on one machine or on several."""
        return f"{self.stack}-{device}{'-nodes' if several else ''}"

    @property
    def queues(self) -> list[str]:
        """All queues."""
        return [self.queue(device, several) for several in (False, True) for device in DEVICES]

    @property
    def build(self) -> str:
        """The CodeBuild project of the image."""
        return f"{self.stack}-image"

    @property
    def log_group(self) -> str:
        """The log group of all jobs."""
        return f"/flow-models/{self.stack}"
