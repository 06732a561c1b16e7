"""The orchestrator's side of a worker: start, ask, close."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from flows import environment

MODULES = {
    "ours": "ours",
    "flowjax": "flowjax_peer",
    "zuko": "zuko_peer",
    "normflows": "normflows_peer",
    "nflows": "nflows_peer",
}
PYTORCH = ("zuko", "normflows", "nflows")
PATIENCE = 600.0  # seconds for one answer; a compilation takes longest


class WorkerFailed(Exception):
    """A worker's process ended, or it answered with an error or not at all."""


class Worker:
    """One library in a process of its own; a context that ends the process.

    Args:
      library: a name in `MODULES`.
      folder: where the points and the logs of workers are.
      cache: folder of the torch.compile cache; an empty one makes it compile.
      package: where the modules of the libraries are.
      cores: number of cores the process may use; 0 for all.
    """

    def __init__(
        self,
        library: str,
        form: str,
        folder: Path,
        cache: str,
        package: str = "flows",
        cores: int = 0,
    ):
        self.library, self.form = library, form
        self.log = folder / f"{library}_{form}.log"
        ours = library == "ours"
        program = sys.executable if ours else environment.python()
        variables = os.environ | {
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "TORCHINDUCTOR_CACHE_DIR": cache,
            "PYTHONPATH": str(environment.HERE.parent) if ours else "",
        }
        self.started = time.perf_counter()
        with self.log.open("w") as log:
            command = [*_on(cores), program, "-m", f"{package}.{MODULES[library]}", str(folder)]
            self.process = subprocess.Popen(
                command,
                text=True,
                cwd=environment.HERE,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    @property
    def name(self) -> str:
        return f"{self.library} ({self.form})"

    def ask(self, command: str, **arguments) -> dict:
        """Sends a command and waits for its answer.

        Raises:
          WorkerFailed: no answer, or an error.
        """
        try:
            self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise WorkerFailed(f"{self.name}: no answer to {command} in {PATIENCE:g} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            lines = self.log.read_text().strip().splitlines() or ["no message"]
            raise WorkerFailed(f"{self.name}: the process ended during {command}: {lines[-1]}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerFailed(f"{self.name}: {command}: {reply['error']}")
        return reply

    def age(self) -> float:
        """Seconds since the process was started."""
        return time.perf_counter() - self.started

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def _on(cores: int) -> list[str]:
    """The start of a command line that keeps a process on the last `cores` cores."""
    return (
        ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[-cores:]))]
        if cores
        else []
    )
