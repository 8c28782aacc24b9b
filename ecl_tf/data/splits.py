"""What every data set is loaded as, and how it becomes batches."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set in three parts.

    Attributes:
        train: a `tf.data.Dataset` of single examples (inputs, label), in a fixed order.
        validation: the same, for every choice that is made.
        test: the same, read once, after all choices are made.
        event_size: the number of classes or of target dimensions.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_size: int

    @property
    def input_shape(self):
        """The shape of one example's inputs, or the nesting of shapes."""
        return tf.nest.map_structure(lambda spec: tuple(spec.shape), self.train.element_spec[0])


def training_batches(dataset, batch_size, seed):
    """Endless shuffled batches of a fixed size, for a number of steps.

    Every pass is in another order; all orders follow from the seed.

    Args:
        dataset: a `tf.data.Dataset` of single examples, with a known size.
        batch_size: rows of each batch.
        seed: of the order.

    Raises:
        ValueError: if the data holds less than one batch.
    """
    size = int(dataset.cardinality())
    if size < batch_size:
        raise ValueError(
            f"The training data holds {size} examples, less than one batch of {batch_size}. "
            "Choose a smaller batch size."
        )
    dataset = dataset.cache().shuffle(min(size, 100_000), seed=seed).repeat()
    return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(dataset, batch_size=512):
    """Batches of one pass in order, the last one as large as it comes."""
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
