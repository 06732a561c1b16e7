"""flowjax's own flows and loss; one step per call as in its `fit_to_data`, or many in one
`lax.scan`."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import step as one_step

from flows import protocol


class Flowjax(protocol.Library):
    """A form is scan (`chunk` steps per compiled call, data on the device) or step."""

    packages = ("flowjax", "jax")

    def build(self, spec):
        self.spec = spec
        self.dist = self._model(spec)
        self.weights, self.static = eqx.partition(
            self.dist,
            eqx.is_inexact_array,
            is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
        )
        self.optimizer = self._optimizer(spec["recipe"])
        self.state = self.optimizer.init(self.weights)
        self.loss, self.rows = MaximumLikelihoodLoss(), jnp.asarray(self.data.train)
        self.batches = protocol.Batches(len(self.rows), spec["batch"], spec["seed"])
        self._run = eqx.filter_jit(self._scan)
        self._densities = eqx.filter_jit(lambda dist, x: dist.log_prob(x))
        self._draws = eqx.filter_jit(lambda dist, key, n: dist.sample(key, (n,)))
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        return {"parameters": parameters, "chunk": spec["chunk"] if spec["form"] == "scan" else 1}

    def _model(self, spec):
        common = {
            "base_dist": StandardNormal((2,)),
            "flow_layers": spec["depth"],
            "nn_width": spec["hidden"][0],
            "nn_depth": len(spec["hidden"]),
            "nn_activation": getattr(jax.nn, spec["activation"]),
            "invert": True,
        }
        key = jax.random.key(spec["seed"])
        if spec["model"] == "maf":
            return masked_autoregressive_flow(key, **common)
        if spec["model"] == "spline":
            # its knots are the inner ones, one less than bins
            common["transformer"] = RationalQuadraticSpline(
                knots=spec["bins"] - 1, interval=spec["bound"]
            )
        return coupling_flow(key, **common)

    def _optimizer(self, recipe):
        schedule = recipe["learning_rate"]
        if recipe["steps"]:
            steps = jnp.asarray(
                [protocol.rate(recipe, step) for step in range(recipe["steps"])], jnp.float32
            )
            schedule = lambda count: steps[jnp.minimum(count, len(steps) - 1)]
        adam = optax.adam(schedule, recipe["beta1"], recipe["beta2"])
        return (
            optax.chain(optax.clip_by_global_norm(recipe["clip"]), adam) if recipe["clip"] else adam
        )

    def _scan(self, weights, state, rows, index):
        def body(carry, batch):
            weights, state = carry
            value, gradients = eqx.filter_value_and_grad(self.loss)(
                weights, self.static, rows[batch], key=None
            )
            updates, state = self.optimizer.update(gradients, state, weights)
            return (eqx.apply_updates(weights, updates), state), value

        return jax.lax.scan(body, (weights, state), index)

    def train(self, steps):
        began = time.perf_counter()
        if self.spec["form"] == "scan":
            chunk = self.spec["chunk"]
            for _ in range(steps // chunk):
                index = jnp.asarray(self.batches.take(chunk), jnp.int32)
                (self.weights, self.state), _ = self._run(
                    self.weights, self.state, self.rows, index
                )
        else:
            for index in self.batches.take(steps):
                self.weights, self.state, _ = one_step(
                    self.weights,
                    self.static,
                    self.rows[index],
                    optimizer=self.optimizer,
                    opt_state=self.state,
                    loss_fn=self.loss,
                    key=None,
                )
        jax.block_until_ready(self.weights)
        seconds = time.perf_counter() - began
        self.dist = eqx.combine(self.weights, self.static)
        return seconds

    def log_prob(self, x):
        return np.asarray(self._densities(self.dist, jnp.asarray(x)))

    def sample(self, n):
        return np.asarray(self._draws(self.dist, jax.random.key(0), n))


if __name__ == "__main__":
    protocol.serve(Flowjax)
