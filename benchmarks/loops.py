"""The live step of `benchmarks.steps` as loops that people write by hand, with Keras networks.

`of_tensorflow` is a `tf.function` with a `GradientTape`, in this process. As a script

    python -m benchmarks.loops

is the same for JAX, by Keras's JAX backend and `jax.jit`: it reads a case as JSON on the first
line, with the networks' configurations, then numbers of steps, a line each, and answers with the
seconds that they took.

Both mix by CutMix where inputs are images, and by Mixup elsewhere, as the default sampler does.
"""

import json
import os
import sys

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from benchmarks.clock import now


def of_tensorflow(student, ask, batches, optimizer):
    """A function that trains for a number of steps and returns the seconds.

    Args:
        student: the network.
        ask: a function from mixed inputs to the teacher's probabilities.
        batches: a dataset of inputs and labels.
        optimizer: a Keras optimizer.
    """
    import tensorflow as tf

    def mixed(x):
        shape = tf.shape(x)
        partners = tf.roll(x, tf.random.uniform([], 1, shape[0], tf.int32), 0)
        if x.shape.rank == 2:
            share = tf.random.uniform([shape[0], 1])
            return share * x + (1.0 - share) * partners
        side = tf.sqrt(tf.random.uniform([shape[0]]))  # Of the box's area, 1 - Beta(1, 1).

        def inside(size):
            centre, size = tf.random.uniform([shape[0]]), tf.cast(size, tf.float32)
            low, high = (tf.round((centre + sign * side / 2) * size) for sign in (-1, 1))
            place = tf.range(size)
            return (place >= low[:, None]) & (place < high[:, None])

        box = inside(shape[1])[:, :, None, None] & inside(shape[2])[:, None, :, None]
        return tf.where(box, partners, x)

    @tf.function(autograph=False)
    def step(x):
        x = mixed(x)
        wanted = ask(x)
        with tf.GradientTape() as tape:
            logits = student(x, training=True)
            loss = tf.reduce_mean(
                tf.reduce_sum(
                    tf.math.xlogy(wanted, wanted) - wanted * tf.nn.log_softmax(logits), -1
                )
            )
        weights = student.trainable_weights
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    optimizer.build(student.trainable_weights)
    iterator = iter(batches)

    def run(steps):
        begun = now()
        for _ in range(steps):
            loss = step(next(iterator)[0])
        loss.numpy()
        return now() - begun

    return run


def of_jax(case):
    """As `of_tensorflow`, of a case with its networks' configurations."""
    import jax
    import jax.numpy as jnp

    member, student = (keras.models.model_from_json(text) for text in case["networks"])
    members = [keras.models.clone_model(member) for _ in range(case["members"][2])]
    optimizer = keras.optimizers.SGD(1e-3, 0.9)
    optimizer.build(student.trainable_variables)
    rows = case["rows"]
    x = np.random.default_rng(0).random((4 * rows, *case["shape"]), "float32")

    def values(*kinds):
        return tuple([variable.value for variable in variables] for variables in kinds)

    teacher = [values(each.trainable_variables, each.non_trainable_variables) for each in members]

    def mixed(x, key):
        shift, first, second, third = jax.random.split(key, 4)
        partners = jnp.roll(x, jax.random.randint(shift, [], 1, rows), 0)
        if x.ndim == 2:
            share = jax.random.uniform(first, [rows, 1])
            return share * x + (1.0 - share) * partners
        side = jnp.sqrt(jax.random.uniform(first, [rows]))

        def inside(size, key):
            centre = jax.random.uniform(key, [rows])
            low, high = (jnp.round((centre + sign * side / 2) * size) for sign in (-1, 1))
            place = jnp.arange(size)
            return (place >= low[:, None]) & (place < high[:, None])

        height, width = x.shape[1:3]
        box = inside(height, second)[:, :, None, None] & inside(width, third)[:, None, :, None]
        return jnp.where(box, partners, x)

    @jax.jit
    def step(state, teacher, x, key):
        weights, others, slots = state
        x = mixed(x, key)
        pairs = zip(members, teacher, strict=True)
        raws = [each.stateless_call(*its, x, training=False)[0] for each, its in pairs]
        wanted = sum(jax.nn.softmax(raw) for raw in raws) / len(raws)

        def loss_of(weights):
            logits, changed = student.stateless_call(weights, others, x, training=True)
            divergence = jax.scipy.special.xlogy(wanted, wanted) - wanted * jax.nn.log_softmax(
                logits
            )
            return divergence.sum(-1).mean(), changed

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return (weights, others, slots), loss

    held = {
        "state": values(
            student.trainable_variables, student.non_trainable_variables, optimizer.variables
        ),
        "steps": 0,
    }
    rng = np.random.default_rng(1)

    def run(steps):
        begun = now()
        for _ in range(steps):
            batch = x[rng.integers(0, len(x), rows)]
            held["steps"] += 1
            held["state"], loss = step(
                held["state"], teacher, batch, jax.random.PRNGKey(held["steps"])
            )
        loss.block_until_ready()
        return now() - begun

    return run


def main():
    run = of_jax(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        print(run(int(line)), flush=True)


if __name__ == "__main__":
    main()
