"""Records a store, and is killed while it writes a step. Arguments: the directory, the step."""

import os
import signal
import sys

import keras
import numpy as np

from ecl_tf import replay
from ecl_tf.replay import recording, writing


def main():
    directory, last = sys.argv[1], int(sys.argv[2])
    example = recording.Recording.example

    def killed(self, step, *args):
        if int(step) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return example(self, step, *args)

    recording.Recording.example = killed
    writing.PART_STEPS = 4
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    replay.record(teacher, x, directory=directory, batch_size=8, epochs=3, shards=2, verbose=0)
    print("null")


if __name__ == "__main__":
    main()
