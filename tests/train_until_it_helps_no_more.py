"""Trainings of steps="auto", by one process or as a worker of two; prints where they ended.

Arguments: the directory of the checkpoints, and the step of the student's training in which the
second worker kills itself, 0 for never.
"""

import json
import os
import pathlib
import signal
import sys

import keras
from tiny import shrink

import ecl_tf
from configs import digits
from ecl_tf.experiments import distillation, strategies
from ecl_tf.experiments.experiment import Experiment

done = []  # The steps of this process; a checkpoint would restore what a callback counts.


class Kill(keras.callbacks.Callback):
    """Ends the second worker after a step."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        done.append(batch)
        if len(done) == self.after and not strategies.is_chief():
            os.kill(os.getpid(), signal.SIGKILL)


def experiment():
    """Of cycles of 10, 20 and 40 steps; the teacher would have to halve its loss to go on."""
    config = shrink(digits.get_config("one_split"))
    with config.unlocked():
        for section, min_gain in ((config.teacher, 0.5), (config.student, 0.02)):
            section.train.update({"steps": "auto", "max_steps": 70, "optimizer": "SGD"})
            section.train.learning_rate = 0.1
            section.train.schedule = {"name": "restarts", "first_cycle": 10, "min_gain": min_gain}
        config.xcl.sampler = {"class_name": "Mixup", "config": {"group_size": 16}}
    return Experiment(config, {"every_steps": 8, "every_seconds": None})


def main():
    directory, step = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    if "TF_CONFIG" in os.environ:
        strategies.use("multi_worker")
    found = {}

    def tell(name, model, steps):
        weights = [weight.ravel().tolist() for weight in model.get_weights()]
        found[name] = {"steps": int(steps.numpy()), "weights": weights}

    tried = experiment()
    network = tried.train_supervised(tried.config.teacher, seed=0)
    tell("teacher", network, network.optimizer.iterations)
    teacher = ecl_tf.Ensemble([network], tried.output)
    distiller, _ = distillation.train(tried, teacher, None, directory, [Kill(step)])
    tell("student", distiller.student, distiller.step)
    print(json.dumps([found, len(done)]))


if __name__ == "__main__":
    main()
