"""Training as jobs of AWS Batch: the stack, the image, the jobs, and what runs inside a container.

    python -m flow_models batch deploy|build|submit|status|logs|cancel|delete       (make batch-deploy, ...)

`doc/aws_batch.md` says how to use it. Nothing here needs TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

# EX_TEMPFAIL: the exit status of a run that was told to stop and has saved; the job is tried again
INTERRUPTED = 75
SWEEP_VARIABLE = "FLOW_MODELS_SWEEP"  # tells the children of an array job what to vary
DEVICES = ("gpu", "cpu")


@dataclass(frozen=True)
class Names:
    """What the template calls its parts, by the name of the stack."""

    stack: str

    def queue(self, device: str, several: bool) -> str:
        """Of jobs on one machine, or on several; the definition of such a job has the same name."""
        return f"{self.stack}-{device}{'-nodes' if several else ''}"

    @property
    def queues(self) -> list[str]:
        return [self.queue(device, several) for several in (False, True) for device in DEVICES]

    @property
    def build(self) -> str:
        return f"{self.stack}-image"

    @property
    def log_group(self) -> str:
        return f"/flow-models/{self.stack}"
