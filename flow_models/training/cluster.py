"""Which machines train together: TF_CONFIG, or the nodes of a multi-node AWS Batch job. Loads
nothing heavy.

TF_CONFIG is TensorFlow's own: {"cluster": {"worker": ["host:port", ...]}, "task": {"type":
"worker", "index": 0}}. On Batch only the address of the main node is known, and to the children
alone. So every child tells the main node, over TCP, its number and address, and gets back the list
of all, main node first; from it each node makes its TF_CONFIG.
Where TF_CONFIG is given the same exchange, at the address of worker 0, waits for all: TensorFlow
itself waits for an hour and cannot be interrupted. Worker 0 is the chief: it writes what a run
writes. Who knows the job's id is taken for a node, so the ports should be open to the nodes alone.
"""

import json
import os
import socket
import time
from typing import NamedTuple

from flow_models.core.errors import UserError, WorkerLost

STRATEGIES = ("auto", "single", "mirrored", "multiworker")
PORT = 25600  # of the main node, where children register; FLOW_MODELS_PORT is another one
PATIENCE = 600.0  # seconds that nodes have to come; FLOW_MODELS_PATIENCE is another time
LONGEST = 2**16  # bytes of a message
_PREFIX = "AWS_BATCH_JOB_"


class Task(NamedTuple):
    """One of the workers that train together: its number and how many there are."""

    index: int  # type: ignore[assignment]  # tuple has a method of this name
    count: int  # type: ignore[assignment]


def task(strategy: str = "auto") -> Task:
    """This process among the workers, (0, 1) where it trains alone. Raises UserError for a
    TF_CONFIG that is none."""
    text = os.environ.get("TF_CONFIG")
    if not text or strategy not in ("auto", "multiworker"):
        return Task(0, 1)
    try:
        config = json.loads(text)
        workers, own = config["cluster"]["worker"], config["task"]
        assert (
            list(config["cluster"]) == ["worker"]
            and own["type"] == "worker"
            and 0 <= int(own["index"]) < len(workers)
        )
        return Task(int(own["index"]), len(workers))
    except (ValueError, KeyError, TypeError, AssertionError):
        raise UserError(
            'TF_CONFIG must be {"cluster": {"worker": ["host:port", ...]}, "task": {"type":'
            f' "worker", "index": 0 ...}}}}; got {text[:200]}'
        ) from None


def join(strategy: str = "auto") -> Task:
    """`task`, once all workers are there; at once where they were before.

    Raises:
      UserError: multiworker is asked for and nothing says who the workers are.
      WorkerLost: workers did not come in time.
    """
    nodes = int(os.environ.get(f"{_PREFIX}NUM_NODES", 1))
    if strategy in ("auto", "multiworker") and nodes > 1 and not os.environ.get("TF_CONFIG"):
        own, workers = _gather(nodes)
        index = workers.index(own)
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        )
    elif task(strategy).count > 1 and os.environ["TF_CONFIG"] not in _met:
        _meet(task(strategy), json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"][0])
    _met.add(os.environ.get("TF_CONFIG"))
    if strategy == "multiworker" and not os.environ.get("TF_CONFIG"):
        raise UserError(
            "--strategy multiworker needs TF_CONFIG, or a multi-node AWS Batch job: nothing says"
            " who the workers are"
        )
    return task(strategy)


def patience() -> float:
    """Seconds that the workers have to come."""
    return float(os.environ.get("FLOW_MODELS_PATIENCE", PATIENCE))


_met: set[str | None] = set()  # of TF_CONFIG: the workers of this process, once they are there


def _meet(own: Task, first: str) -> None:
    """Waits until all workers of a TF_CONFIG are there, at the address of the first, which
    TensorFlow does not use yet."""
    host, _, port = first.rpartition(":")
    until = time.monotonic() + patience()
    if own.index == 0:
        _serve(own.count, 0, int(port), until)
    else:
        _register(host, int(port), own.index, until)


def _gather(nodes: int) -> tuple[str, list[str]]:
    """This node's address, and those of all nodes, the main one first, the others by their
    numbers."""
    index, main = (
        int(os.environ[f"{_PREFIX}NODE_INDEX"]),
        int(os.environ.get(f"{_PREFIX}MAIN_NODE_INDEX", 0)),
    )
    port, until = int(os.environ.get("FLOW_MODELS_PORT", PORT)), time.monotonic() + patience()
    if index == main:
        return _serve(nodes, index, port, until)
    host = os.environ.get(f"{_PREFIX}MAIN_NODE_PRIVATE_IPV4_ADDRESS")
    if not host:
        raise UserError(
            f"{_PREFIX}MAIN_NODE_PRIVATE_IPV4_ADDRESS is not set: a child node cannot find the"
            " main one"
        )
    return _register(host, port, index, until)


def _job() -> str:
    """What all nodes of one attempt of a job have in common, so that no stranger is taken for a
    node."""
    return (
        f"{os.environ.get(f'{_PREFIX}ID', '').split('#')[0]}"
        f" {os.environ.get(f'{_PREFIX}ATTEMPT', '')}"
    )


def _serve(nodes: int, index: int, port: int, until: float) -> tuple[str, list[str]]:
    """The main node's side: waits for all children, and answers each."""
    children: dict[int, tuple[socket.socket, str]] = {}
    own = ""
    with socket.create_server(("", port), backlog=nodes) as server:
        while len(children) < nodes - 1:
            server.settimeout(max(until - time.monotonic(), 0.01))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = sorted(set(range(nodes)) - {index, *children})
                raise WorkerLost(
                    f"workers {missing} did not register within {patience():g} s at port {port}:"
                    " look at their logs, and whether the security group lets the nodes reach each"
                    " other"
                ) from None
            child = _child(connection)
            if child is None:
                connection.close()
                continue
            own = own or f"{connection.getsockname()[0]}:{_free_port()}"
            children[child[0]] = (connection, child[1])
    workers = [own, *(address for _, (_, address) in sorted(children.items()))]
    for connection, _ in children.values():
        with connection:
            connection.sendall(json.dumps(workers).encode() + b"\n")
    return own, workers


def _child(connection: socket.socket) -> tuple[int, str] | None:
    """Number and address of a child; None for whoever else has connected."""
    connection.settimeout(10)
    try:
        said = json.loads(_line(connection))
        return (int(said["index"]), str(said["address"])) if said["job"] == _job() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _register(host: str, port: int, index: int, until: float) -> tuple[str, list[str]]:
    """A child's side: tries until the main node is up, then waits for the list."""
    while True:
        try:
            with socket.create_connection((host, port), timeout=10) as connection:
                own = f"{connection.getsockname()[0]}:{_free_port()}"
                said = {"job": _job(), "index": index, "address": own}
                connection.sendall(json.dumps(said).encode() + b"\n")
                connection.settimeout(max(until - time.monotonic(), 0.01))
                return own, json.loads(_line(connection))
        except (OSError, ValueError) as error:
            if time.monotonic() > until:
                raise WorkerLost(
                    f"the main node {host}:{port} did not answer within {patience():g} s ({error}):"
                    " look at its log, and whether the security group lets the nodes reach each"
                    " other"
                ) from None
            time.sleep(1.0)


def _line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        line = file.readline(LONGEST)
    if not line.endswith(b"\n"):
        raise ValueError("the connection ended in the middle of a message")
    return line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
