"""A teacher's answers, stored once and replayed for any number of trainings.

The teacher's forward passes are most of what distillation costs. As a sample is a function of
training rows and a seed, `record` stores no inputs but what draws them again, and the teacher's
distribution there; a `Store` gives both to `Distiller.fit`, with no teacher in memory.

Example:
>>> import tempfile
>>> import keras, numpy as np
>>> from ecl_tf import Distiller
>>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
>>> network = lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
>>> directory = tempfile.mkdtemp()
>>> record(network(), x, directory=directory, sampler="Mixup", epochs=2, batch_size=16, verbose=0)
True
>>> store = Store(directory)
>>> distiller = Distiller(network(), store.teacher, sampler=store.sampler)
>>> distiller.compile("adam")
>>> history = distiller.fit(store.batches(x), epochs=3, steps_per_epoch=4, verbose=0)

References: the idea of storing what a teacher says of replayable views is that of Faghri et al.,
"Reinforce Data, Multiply Impact: Improved Model Accuracy and Robustness with Dataset
Reinforcement", 2023, and Shen and Xing, "A Fast Knowledge Distillation Framework for Visual
Recognition", 2022, who store the largest probabilities of random crops.
"""

from ecl_tf.replay.store import RecordedTeacher, Store
from ecl_tf.replay.writing import estimate, record

__all__ = ["RecordedTeacher", "Store", "estimate", "record"]
