"""Loops of equal layers: one compiled body over stacked weights, in three ways to differentiate it.

A step is step(weights of one round, x, condition) -> y, log_det. Stacked weights have leaves
[rounds, ...]. All loops return y and the sum of the log-determinants.
"""

import tensorflow as tf

from flow_models.bijectors.layer import floating, leaves, no_log_det, rebuild, refill


def loop(step, rounds: int, weights, x, condition=None, backwards: bool = False):
    """The plain loop. Its gradient stores every intermediate value of every round.

    Args:
      backwards: runs the last round first.
    """
    place = _places(rounds, backwards)

    def body(i, x, total):
        y, log_det = step(of_round(weights, place(i)), x, condition)
        return i + 1, y, total + log_det

    return tf.while_loop(
        lambda i, *_: i < rounds, body, (0, x, no_log_det(x)), maximum_iterations=rounds
    )[1:]


def loop_that_recomputes(step, rounds: int, weights, x, condition=None, backwards: bool = False):
    """Stores only the input of each round; the backward pass computes the round again.

    The plain loop compiles slower, and its memory grows with the width of the networks.
    Arguments as in `loop`.
    """
    place = _places(rounds, backwards)

    @tf.custom_gradient
    def run(x, condition, *trained):
        def body(i, x, total, inputs):
            y, log_det = step(of_round(refill(weights, trained), place(i)), x, condition)
            return i + 1, y, total + log_det, inputs.write(i, x)

        state = (0, x, no_log_det(x), tf.TensorArray(x.dtype, rounds, element_shape=x.shape))
        _, y, total, inputs = tf.while_loop(
            lambda i, *_: i < rounds, body, state, maximum_iterations=rounds
        )
        inputs = inputs.stack()

        def gradient(dy, d_total):
            def body(i, dy, d_condition, d_trained):
                nest = of_round(refill(weights, trained), place(i))
                here = [tf.gather(inputs, i), condition, *floating(nest)]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(here)
                    outputs = step(refill(nest, here[2:]), *here[:2])
                dx, dc, *dw = tape.gradient(
                    outputs, here, [dy, d_total], unconnected_gradients="zero"
                )
                return (
                    i - 1,
                    dx,
                    d_condition + dc,
                    [all.write(place(i), d) for all, d in zip(d_trained, dw)],
                )

            state = (rounds - 1, dy, tf.zeros_like(condition), _gradients_of(trained))
            _, dx, dc, dw = tf.while_loop(
                lambda i, *_: i >= 0, body, state, maximum_iterations=rounds
            )
            return dx, dc, *[d.stack() for d in dw]

        return (y, total), gradient

    if condition is None:
        unconditional, nothing = step, tf.zeros([0], x.dtype)
        step = lambda weights, x, _: unconditional(weights, x, None)
    return run(x, nothing if condition is None else condition, *floating(weights))


def loop_of_inverses(layer, rounds: int, weights, y, dy, d_log_det, condition=None):
    """`Layer.inverse_and_gradient` of equal layers in sequence; memory does not grow with their
    number."""
    nothing = tf.zeros([0], y.dtype) if condition is None else tf.zeros_like(condition)

    def body(i, y, dy, d_condition, d_weights):
        x, dx, dw, dc = layer.inverse_and_gradient(
            of_round(weights, i), y, dy, d_log_det, condition
        )
        return (
            i - 1,
            x,
            dx,
            d_condition if dc is None else d_condition + dc,
            [a.write(i, d) for a, d in zip(d_weights, dw)],
        )

    state = (rounds - 1, y, dy, nothing, _gradients_of(floating(weights)))
    _, x, dx, dc, dw = tf.while_loop(lambda i, *_: i >= 0, body, state, maximum_iterations=rounds)
    return x, dx, [d.stack() for d in dw], None if condition is None else dc


def of_round(weights, k):
    """The weights of round k among stacked ones; k is a number or a scalar tensor."""
    return rebuild(
        weights, [tf.gather(w, k) if tf.is_tensor(k) else w[k] for w in leaves(weights).values()]
    )


def _places(rounds, backwards):
    return (lambda i: rounds - 1 - i) if backwards else (lambda i: i)


def _gradients_of(stacked):
    return [tf.TensorArray(w.dtype, w.shape[0], element_shape=w.shape[1:]) for w in stacked]
