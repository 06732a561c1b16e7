"""The compiled part of training: many optimizer steps a call, on one device or several."""

import tensorflow as tf

from flow_models.bijectors.layer import leaves, rebuild
from flow_models.core.errors import UserError
from flow_models.training.batches import as_batch
from flow_models.training.devices import share
from flow_models.training.optimizer import adam


class Steps:
    """Optimizer steps of a loss as functions of weights and moments; nothing is kept here between
    calls.

    `terms` are the names of what the loss gives. `compiled(weights, moments, sums, chunk, step, n,
    total)` makes up to n steps of `total` from number `step` on, with batches from `chunk` of the
    source: (steps done, whether all was finite, weights, moments, sums of the loss's terms). It
    stops before the update of a step whose objective or gradient is not finite.
    `evaluate(weights, batch)` is the loss.

    Args:
      model: whose trainable weights are trained, with its starting values.
      loss: loss(weights, batch) -> {"objective": [B], ...}.
      source, settings, devices: of the training.

    Raises:
      UserError: nothing to train.
    """

    def __init__(self, model, loss, source, settings, devices):
        self.model, self.loss, self.source, self.settings, self.devices = (
            model,
            loss,
            source,
            settings,
            devices,
        )
        self.variables = list(leaves(model.weights).values())
        self.trainable = [v for v in self.variables if v.trainable]
        if not self.trainable:
            raise UserError("the model has nothing to train")
        self.terms = self._names_of_terms()
        self.compiled = self._loop()

    @property
    def frozen(self) -> list[tf.Variable]:
        """The variables that are not trained."""
        return [v for v in self.variables if not v.trainable]

    def evaluate(self, weights, batch):
        """The terms of the loss [B] of a batch."""
        loss = getattr(self.loss, "of_validation", self.loss)
        return self._terms(self.nest(weights), batch, loss)

    def _terms(self, weights, batch, loss=None):
        """The terms of the loss [B], times the weight of each row where the data have one."""
        terms = (loss or self.loss)(weights, batch)
        if "weight" not in batch:
            return terms
        return {name: batch["weight"][:, 0] * term for name, term in terms.items()}

    def _names_of_terms(self) -> list[str]:
        """The keys of what the loss gives, from a trace that is never run."""
        batch = as_batch(self.source.first_rows(1), self.model)
        traced = tf.function(lambda: self.loss(self.model.weights, batch), autograph=False)
        return list(traced.get_concrete_function().structured_outputs)

    def nest(self, weights, frozen=None):
        """The model's nest of weights with the trained ones replaced, frozen ones as they are, or
        replaced too."""
        trained, rest = iter(weights), iter(frozen or ())
        kept = [next(trained) if v.trainable else next(rest, v) for v in self.variables]
        return rebuild(self.model.weights, kept)

    def _loss_and_gradients(self, weights, batch, frozen=None):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            parts = [
                self._terms(self.nest(weights, frozen), part)
                for part in _microbatches(batch, self.settings.microbatches)
            ]
            terms = [
                tf.add_n([tf.reduce_mean(part[name]) for part in parts]) / len(parts)
                for name in self.terms
            ]
            objective = terms[self.terms.index("objective")]
        gradients = tape.gradient(objective, weights, unconnected_gradients="zero")
        return tf.stack([tf.cast(term, tf.float32) for term in terms]), gradients

    def _loop(self):
        """The compiled function of many steps. With several devices XLA compiles the parts between
        communication."""
        if self.devices.strategy is None:
            return tf.function(self._steps, jit_compile=self.settings.jit, autograph=False)
        self._share_compiled = tf.function(
            self._of_share, jit_compile=self.settings.jit, autograph=False
        )
        self._update_compiled = tf.function(
            self._update, jit_compile=self.settings.jit, autograph=False
        )
        return tf.function(self._steps_of_devices, autograph=False)

    def _steps_of_devices(self, weights, moments, sums, chunk, step, n, total):
        """`_steps` on several devices."""
        frozen = [tf.identity(v) for v in self.variables if not v.trainable]
        done, good, state = self.devices.steps(
            self._replica_step, n, (weights, moments, sums), (chunk, step, frozen, total)
        )
        return done, good, *state

    def _replica_step(self, i, state, constants, mean, replica):
        """One step of one replica: its share of the batch, the mean over all replicas, the same
        update as theirs."""
        weights, moments, sums = state
        *others, total = constants
        packed = mean(self._share_compiled(weights, *others, i, replica))
        good, *state = self._update_compiled(weights, moments, sums, packed, others[1] + i, total)
        return good, tuple(state)

    def _of_share(self, weights, chunk, step, frozen, i, replica):
        """The terms of the loss and the gradient over a replica's rows, as one vector."""
        seed = tf.stack([tf.constant(self.settings.seed), step + i])
        batch = as_batch(self.source.batch(chunk, i, step + i), self.model, seed)
        values, gradients = self._loss_and_gradients(
            weights, share(batch, replica, self.devices.replicas), frozen
        )
        return tf.concat(
            [tf.cast(values, self.model.dtype), *(tf.reshape(g, [-1]) for g in gradients)], 0
        )

    def _update(self, weights, moments, sums, packed, step, total):
        """Adam with the gradient that `_of_share` packed, averaged; the same on every replica."""
        values, *flat = tf.split(
            packed, [len(self.terms), *(w.shape.num_elements() for w in weights)]
        )
        gradients = [tf.reshape(g, w.shape) for g, w in zip(flat, weights)]
        weights, moments, norm = adam(
            self.settings, step, weights, gradients, moments, self._scheduled(total)
        )
        values = tf.cast(values, tf.float32)
        return (
            tf.math.is_finite(tf.reduce_sum(values)) & tf.math.is_finite(norm),
            weights,
            moments,
            sums + values,
        )

    def _scheduled(self, total):
        """What the learning rate follows: steps that may change, or None for those of the settings,
        which are compiled in."""
        return total if self.settings.minutes else None

    def _steps(self, weights, moments, sums, chunk, step, n, total):
        """Up to n optimizer steps; stops before the update of a step whose objective or gradient is
        not finite."""

        def body(i, good, weights, moments, sums):
            seed = tf.stack([tf.constant(self.settings.seed), step + i])
            batch = as_batch(self.source.batch(chunk, i, step + i), self.model, seed)
            values, gradients = self._loss_and_gradients(weights, batch)
            weights, moments, norm = adam(
                self.settings, step + i, weights, gradients, moments, self._scheduled(total)
            )
            good = tf.math.is_finite(tf.reduce_sum(values)) & tf.math.is_finite(norm)
            return i + 1, good, weights, moments, sums + values

        state = [0, True, weights, moments, sums]
        return tf.while_loop(lambda i, good, *_: (i < n) & good, body, state)


def _microbatches(batch, count: int) -> list:
    """The batch in `count` equal parts, or whole where it cannot be cut so."""
    rows = tf.nest.flatten(batch)[0].shape[0]
    if count < 2 or rows % count:
        return [batch]
    height = rows // count
    return [
        tf.nest.map_structure(lambda a, i=i: a[i * height : (i + 1) * height], batch)
        for i in range(count)
    ]
