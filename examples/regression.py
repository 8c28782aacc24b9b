"""Regression with uncertainty, in a plot.

An ensemble of five networks teaches one. Each predicts a mean and a standard deviation, and where
no data was measured the five disagree. You learn how to distil both kinds of uncertainty.

    python examples/regression.py

    on held-out points       RMSE    NLL coverage of 95 % intervals
    ordinary distillation   0.449   0.61                      89.2%
    XCL, default recipe     0.451   0.45                      93.2%
    teacher                 0.450   0.45                      93.2%

regression.png shows why. Mixed points lie where nothing was measured, and the student learns the
teacher's doubt there. Ordinary distillation has no points there, and its student is too sure.
"""

import keras
import numpy as np
from matplotlib.figure import Figure

import ecl_tf

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)


def measure(x):
    """Targets whose noise grows with x."""
    stddev = 0.05 + 0.1 * (x + 3)
    return (np.sin(2 * x) + stddev * random.normal(size=x.shape)).astype("float32")


# Nobody measured between -1 and 1. The held-out points lie there, too.
x = random.uniform(-3, -1, (120, 1)).astype("float32")
x[60:] += 4
y = measure(x)
test_x = random.uniform(-3, 3, (2000, 1)).astype("float32")
test_y = measure(test_x)
# A few long epochs take less time than many short ones.
rows, targets = np.tile(x, (20, 1)), np.tile(y, (20, 1))

# The raw output is a mean and an unconstrained scale: two numbers for one target.
output = ecl_tf.outputs.Normal(1, min_scale=0.01)
loss = ecl_tf.losses.NegativeLogLikelihood(output)
members = [ecl_tf.models.build("mlp", (1,), 2, widths=(64, 64)) for _ in range(5)]
for member in members:
    member.compile(keras.optimizers.Adam(3e-3), loss, steps_per_execution=20)
    member.fit(rows, targets, batch_size=20, epochs=8, verbose=0)
teacher = ecl_tf.Ensemble(members, output)

metrics = [
    keras.metrics.RootMeanSquaredError(name="rmse"),
    ecl_tf.metrics.NegativeLogLikelihood(output),
    ecl_tf.metrics.GaussianCoverage(output, level=0.95),
]
print(f"{'on held-out points':22} {'RMSE':>6} {'NLL':>6} {'coverage of 95 % intervals':>26}")
line = np.linspace(-3.5, 3.5, 200, dtype="float32")[:, None]
answers = {"teacher": teacher.distribution(line)}
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, default recipe": None,
}.items():
    student = ecl_tf.models.build("mlp", (1,), 2, widths=(32, 32))
    distiller = ecl_tf.Distiller(student, teacher, output=output, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(1e-2), metrics=metrics, teacher_metrics=True)
    distiller.fit(rows, batch_size=60, epochs=30, verbose=0)
    scores = distiller.evaluate(test_x, test_y, batch_size=500, verbose=0, return_dict=True)
    print(f"{name:22} {scores['rmse']:6.3f} {scores['nll']:6.2f} {scores['coverage']:26.1%}")
    answers[name] = output(student(line))
rmse, nll, coverage = (scores[f"teacher_{metric.name}"] for metric in metrics)
print(f"{'teacher':22} {rmse:6.3f} {nll:6.2f} {coverage:26.1%}")

figure = Figure(figsize=(12, 4), layout="constrained")
for axis, (name, answer) in zip(figure.subplots(1, 3), answers.items(), strict=True):
    mean, stddev = answer.mean()[:, 0], answer.stddev()[:, 0]
    axis.fill_between(line[:, 0], mean - 1.96 * stddev, mean + 1.96 * stddev, alpha=0.3)
    axis.plot(line, mean)
    axis.plot(x, y, "k.", markersize=3)
    axis.set(title=name, xlabel="x", ylim=(-3, 3))
figure.savefig("regression.png")
