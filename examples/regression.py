"""Regression with uncertainty, in a plot.

    python examples/regression.py
"""

import keras
import matplotlib
import numpy as np

import ecl_tf

matplotlib.use("Agg")  # Draws into a file, on machines without a screen, too.
import matplotlib.pyplot as plt  # noqa: E402

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
#DEV random = np.random.default_rng(100 + SEED)


def draw(x):
    """Targets whose noise grows with x."""
    stddev = 0.05 + 0.1 * np.abs(x - x.min())
    return (np.sin(2.0 * x) + stddev * random.normal(size=x.shape)).astype("float32")


# Nobody measured between -1 and 1.
x = np.concatenate([random.uniform(-3, -1, (60, 1)), random.uniform(1, 3, (60, 1))]).astype("float32")
y = draw(x)
held_out_x = random.uniform(-3, 3, (2000, 1)).astype("float32")
held_out_y = draw(held_out_x)

# The raw output is a mean and an unconstrained scale, so two numbers for one target.
output = ecl_tf.outputs.Normal(1, min_scale=0.01)
metrics = [
    keras.metrics.RootMeanSquaredError(name="rmse"),
    ecl_tf.metrics.NegativeLogLikelihood(output),
    ecl_tf.metrics.GaussianCoverage(output, level=0.95),
]

def new_network(*widths):
    return ecl_tf.models.build("mlp", (1,), output.raw_size(1), widths=widths)


members = [new_network(64, 64) for _ in range(5)]
for member in members:
    member.compile(keras.optimizers.Adam(3e-3), ecl_tf.losses.NegativeLogLikelihood(output), steps_per_execution=20)
    member.fit(x, y, batch_size=20, epochs=150, verbose=0)
teacher = ecl_tf.Ensemble(members, output)

rows = np.concatenate([x] * 20)
students = {}
print(f"{'on held-out rows':24} {'RMSE':>6} {'NLL':>6} {'coverage of 95 %':>17}")
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": ecl_tf.samplers.recipe(),
}.items():
    students[name] = new_network(32, 32)
    distiller = ecl_tf.Distiller(students[name], teacher, output=output, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(1e-2), metrics=metrics, teacher_metrics=True, steps_per_execution=20)
    distiller.fit(rows, batch_size=60, epochs=30, verbose=0)
    scores = distiller.evaluate(held_out_x, held_out_y, batch_size=500, verbose=0, return_dict=True)
    print(f"{name:24} {scores['rmse']:6.3f} {scores['nll']:6.2f} {scores['coverage']:17.1%}")
print(f"{'teacher':24} {scores['teacher_rmse']:6.3f} {scores['teacher_nll']:6.2f} {scores['teacher_coverage']:17.1%}")

line = np.linspace(-3.5, 3.5, 200, dtype="float32")[:, None]
figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
answers = {"teacher": teacher.distribution(line)}
answers |= {name: output(student(line)) for name, student in students.items()}
for axis, (name, answer) in zip(axes, answers.items(), strict=True):
    mean, stddev = answer.mean()[:, 0], answer.stddev()[:, 0]
    axis.fill_between(line[:, 0], mean - 1.96 * stddev, mean + 1.96 * stddev, alpha=0.3)
    axis.plot(line, mean)
    axis.plot(x, y, "k.", markersize=3)
    axis.set(title=name, xlabel="x", ylim=(-4, 4))
figure.savefig("regression.png")
