"""On what a model is trained: one device, the GPUs of this machine, or the devices of several
machines.

    devices = get("auto")
    devices.steps(...)         # in a tf.function: each replica on its share of each batch

All replicas hold the same weights and draw the same batch; each takes its share of the rows, and
the means of the shares are averaged by one packed all-reduce a step. So equal seeds and batches
give the curve of one device, to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.training import cluster

# What TensorFlow raises where a worker does not answer any more
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Devices:
    """Replicas of a model on one or several machines. `strategy` None: one device, and nothing here
    is used."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        task: cluster.Task = cluster.Task(0, 1),
    ):
        self.strategy, self.worker, self.workers = strategy, task.index, task.count
        self.replicas = strategy.num_replicas_in_sync if strategy else 1
        self.is_chief = task.index == 0

    def steps(self, step: Callable, n: tf.Tensor, state: tuple, constants: tuple) -> tuple:
        """A loop of n steps, or until one is not good.

        Args:
          step: step(i, state, constants, mean, replica) -> (good, state) in one replica;
            mean(vector) is over all replicas.
          state, constants: nests of tensors, copied to the replicas once, not at every step.

        Returns:
          The number of steps made, whether the last was good, and the state.
        """
        copy = functools.partial(tf.nest.map_structure, tf.identity)
        assert self.strategy is not None
        state, constants = self.strategy.run(copy, (state,)), self.strategy.run(copy, (constants,))

        def body(i, good, state):
            good, state = self.strategy.run(_in_replica, (step, i, state, constants))
            return i + 1, self._one(good), state

        i, good, state = tf.while_loop(lambda i, good, _: (i < n) & good, body, (0, True, state))
        return i, good, tf.nest.map_structure(self._one, state)

    def _one(self, value):
        return self.strategy.experimental_local_results(value)[0]

    def from_chief(self, values, count: int) -> list[float]:
        """`count` numbers that the chief gives and all get; the others give None."""
        if self.workers == 1:
            return list(values)
        mine = np.zeros(count) if values is None else np.asarray(values, np.float64)
        return list(self._summed(tf.constant(mine)).numpy())

    def bytes_from_chief(self, data: bytes | None) -> bytes:
        """Bytes of any length that the chief gives and all get; the others give None."""
        if self.workers == 1:
            return data or b""
        length = int(self.from_chief(None if data is None else [len(data)], 1)[0])
        mine = (
            np.zeros(length, np.int32)
            if data is None
            else np.frombuffer(data, np.uint8).astype(np.int32)
        )
        return self._summed(tf.constant(mine)).numpy().astype(np.uint8).tobytes()

    @functools.cached_property
    def _summed(self):
        """Sum over workers, each with what its first replica has."""

        def of_replica(value):
            context = tf.distribute.get_replica_context()
            first = (
                tf.cast(context.replica_id_in_sync_group, tf.int32)
                % (self.replicas // self.workers)
                == 0
            )
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.where(first, value, tf.zeros_like(value))
            )

        return tf.function(
            lambda value: self._one(self.strategy.run(of_replica, (value,))),
            autograph=False,
            reduce_retracing=True,
        )

    def check(self, batch_size: int) -> None:
        """Raises UserError for a batch that has no equal shares."""
        if batch_size % self.replicas:
            raise UserError(
                f"batch_size {batch_size} cannot be shared equally by {self.replicas} devices: "
                f"give a multiple of {self.replicas}, or --strategy single"
            )


def share(batch, replica: tf.Tensor, replicas: int):
    """The rows of a batch (a nest of tensors [B, ...]) that belong to one replica.

    Gathered, not sliced: XLA takes the start of a slice for a constant, and would compile again for
    every other one.
    """

    def rows(a):
        return tf.gather(tf.reshape(a, [replicas, a.shape[0] // replicas, *a.shape[1:]]), replica)

    return tf.nest.map_structure(rows, batch)


def ring_bytes(numbers: int, replicas: int, size: int = 4) -> float:
    """Bytes that each replica sends, and receives, in one ring all-reduce: 2 (R - 1) / R of the
    vector."""
    return 2 * (replicas - 1) / replicas * numbers * size


def _in_replica(step, i, state, constants):
    context = tf.distribute.get_replica_context()
    mean = functools.partial(context.all_reduce, tf.distribute.ReduceOp.MEAN)
    return step(i, state, constants, mean, tf.cast(context.replica_id_in_sync_group, tf.int32))


def get(strategy: str = "auto") -> Devices:
    """The devices that a strategy names, the same object each time that it comes to the same.

    auto: multiworker where TF_CONFIG or AWS Batch names several workers, mirrored where there are
    several GPUs, else single. Of several workers this must come before anything else of TensorFlow
    runs; the scripts do so.

    Raises:
      UserError: nothing says who the workers are, or TensorFlow has been at work already.
      WorkerLost: workers that do not come.
    """
    task = cluster.join(strategy)
    if strategy == "auto":
        strategy = (
            "multiworker"
            if task.count > 1
            else "mirrored"
            if len(tf.config.list_physical_devices("GPU")) > 1
            else "single"
        )
    return _made(strategy, task)


@functools.cache
def _made(strategy: str, task: cluster.Task) -> Devices:
    """One strategy of a kind in a process, as TensorFlow wants it."""
    if strategy == "multiworker":
        return Devices(_workers(), task)
    if strategy == "mirrored":
        local = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Devices(tf.distribute.MirroredStrategy([device.name for device in local]))
    return Devices()


def _workers():
    """The strategy over all workers."""
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "startup" not in str(error):
            raise
        raise UserError(
            "several workers must be joined before TensorFlow is used: call"
            " flow_models.training.devices.get('multiworker') first in the program"
        ) from None
