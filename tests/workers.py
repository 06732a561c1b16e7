"""Several processes on loopback that train together, as machines would."""

import json
import os
import subprocess
import sys
from pathlib import Path

from servers import free_ports

ROOT = Path(__file__).resolve().parents[1]
PLAIN = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


def by_tf_config(count: int) -> list[dict[str, str]]:
    """The environment of each worker, with TensorFlow's own variable."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})}
        for i in range(count)
    ]


def by_batch(count: int, main: int = 0) -> list[dict[str, str]]:
    """The environment of each node of a multi-node job of AWS Batch: only children know the main
    node's address."""
    nodes = []
    for index in range(count):
        node = {
            "AWS_BATCH_JOB_NUM_NODES": str(count),
            "AWS_BATCH_JOB_NODE_INDEX": str(index),
            "AWS_BATCH_JOB_ATTEMPT": "1",
            "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(main),
            "AWS_BATCH_JOB_ID": f"job#{index}",
        }
        nodes.append(
            node
            | (
                {}
                if index == main
                else {"AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "127.0.0.1"}
            )
        )
    port = str(free_ports(1)[0])
    return [node | {"FLOW_MODELS_PORT": port} for node in nodes]


def start(
    command: list[str], environments: list[dict[str, str]], patience: int = 100
) -> list[subprocess.Popen]:
    """One process of the command for each environment."""
    surroundings = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**surroundings, **PLAIN, "FLOW_MODELS_PATIENCE": str(patience), **environment},
        )
        for environment in environments
    ]


def finish(processes: list[subprocess.Popen], seconds: float = 280) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said)]
