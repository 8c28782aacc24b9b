"""Trainings of steps="auto", by one process or as a worker of two; prints where they ended."""

import json
import os

from tiny import shrink

import ecl_tf
from configs import digits
from ecl_tf.experiments import distillation, strategies
from ecl_tf.experiments.experiment import Experiment


def experiment():
    """Of cycles of 10, 20 and 40 steps; the teacher would have to halve its loss to go on."""
    config = shrink(digits.get_config("one_split"))
    with config.unlocked():
        for section, min_gain in ((config.teacher, 0.5), (config.student, 0.02)):
            section.train.update({"steps": "auto", "max_steps": 70, "optimizer": "SGD"})
            section.train.learning_rate = 0.1
            section.train.schedule = {"name": "restarts", "first_cycle": 10, "min_gain": min_gain}
        config.xcl.sampler = {"class_name": "Mixup", "config": {"group_size": 16}}
    return Experiment(config)


def main():
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
    distiller, _ = distillation.train(tried, teacher)
    tell("student", distiller.student, distiller.step)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
