"""MPIIGaze, one person left out for the test.

The images come from the data set's authors, under CC BY-NC-SA 4.0 (non-commercial), and are
prepared by `ecl_tf.data.mpii_gaze_builder`, which says how to get them.
"""

import logging

import tensorflow as tf

from ecl_tf._internal import loggers
from ecl_tf.data.splits import Splits, in_memory


def mpii_gaze(
    held_out: str = "p00",
    head_pose: bool = True,
    validation_persons: int = 1,
    builder_config: str = "evaluation_subset",
    data_dir: str | None = None,
    manual_dir: str | None = None,
    mock_examples: int = 0,
) -> Splits:
    """Regression: image of an eye, and direction of the head, to direction of gaze.

    No person is in two splits. On the first use the data is prepared from the authors'
    archive (minutes); after that the prepared copy is read, and the archive is not needed.
    The order of the examples is that of the archive, person after person.

    Args:
        held_out: the person of the test split, "p00" (the default) to "p14".
        head_pose: whether the inputs hold the direction of the head; True by default.
        validation_persons: the number of persons after the held-out one, in cyclic order,
            that are the validation split; all others are trained on. 1 by default. With 0 all
            others are trained on, as in the published protocol, and validation is the training
            set itself (the same dataset object), which is no evidence for any choice.
        builder_config: "evaluation_subset" (the default, 3,000 images a person), "all_images"
            or "evaluation_subset_without_pose" (for a release without head poses).
        data_dir: where the prepared copy is or goes; None, the default, is that of TFDS
            (TensorFlow Datasets), the environment's TFDS_DATA_DIR or ~/tensorflow_datasets.
        manual_dir: the directory that holds MPIIGaze.tar.gz or the directory MPIIGaze; None,
            the default, is TFDS's. It is only read if there is no prepared copy.
        mock_examples: with n > 0, every split is n random examples of the right shapes (the
            same ones in all splits), and no data is needed: to try a configuration, not for
            any result. 0 by default.

    Returns:
        `Splits` of examples (inputs, label), with event size 2 and the training labels' mean
        and standard deviation. The inputs are
        {"image": (36, 60, 1) uint8, "head_pose": (2,) float32}, the pose only if asked for.
        Label and pose are (pitch, yaw) in radians; `ecl_tf.metrics.AngularError` says
        which direction that is. Right eyes are mirrored to left.

    Raises:
        ValueError: if an argument is out of its range, or the archive is not as expected.
        AssertionError: by TFDS, with instructions, if there is no prepared copy and no
            manual directory.

    Source: Zhang et al., "Appearance-based Gaze Estimation in the Wild", CVPR 2015.
    """
    import tensorflow_datasets as tfds

    # Imported here, for TFDS takes seconds and most uses of the package don't need it.
    from ecl_tf.data.mpii_gaze_builder import PERSONS, MpiiGaze

    if held_out not in PERSONS:
        raise ValueError(
            f"held_out is {held_out!r}; one of {PERSONS[0]} to {PERSONS[-1]} is expected."
        )
    if not isinstance(validation_persons, int) or not 0 <= validation_persons < len(PERSONS) - 1:
        raise ValueError(
            f"validation_persons is {validation_persons!r}; a whole number from 0 to "
            f"{len(PERSONS) - 2} is expected, so that somebody is left to train on."
        )
    if not isinstance(mock_examples, int) or mock_examples < 0:
        raise ValueError(f"mock_examples is {mock_examples!r}; a whole number >= 0 is expected.")
    configs = MpiiGaze.builder_configs
    if builder_config not in configs:
        raise ValueError(f"builder_config is {builder_config!r}; expected one of {list(configs)}.")
    if head_pose and not configs[builder_config].head_pose:
        raise ValueError(
            f'The configuration "{builder_config}" has no head poses: set head_pose=False, or '
            'choose "evaluation_subset" if your release has them.'
        )

    first = PERSONS.index(held_out)
    others = PERSONS[first + 1 :] + PERSONS[:first]
    validation, train = others[:validation_persons], sorted(others[validation_persons:])
    if mock_examples:
        with tfds.testing.mock_data(num_examples=mock_examples):
            builder = MpiiGaze(data_dir=data_dir, config=builder_config)
            random = _read(builder, [held_out], head_pose)
        return _splits(random, random.take(-1) if validation else random, random.take(-1))

    builder = MpiiGaze(data_dir=data_dir, config=builder_config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    )
    train = _read(builder, train, head_pose)
    validation = _read(builder, validation, head_pose) if validation else train
    return _splits(train, validation, _read(builder, [held_out], head_pose))


def _splits(train, validation, test):
    gaze = in_memory(train.map(lambda inputs, label: label)).numpy()
    mean, stddev = gaze.mean(0, dtype="float64"), gaze.std(0, dtype="float64")
    statistics = {"target_mean": mean.tolist(), "target_stddev": stddev.tolist()}
    return Splits(train, validation, test, event_size=2, **statistics)


def _read(builder, persons, head_pose):
    """The single examples of persons, in order, from a prepared copy."""
    import tensorflow_datasets as tfds

    # Training rows are copied into memory, and need no second place there.
    settings = tfds.ReadConfig(try_autocache=False)
    try:
        with loggers.at_least(logging.ERROR, "absl"):  # It warns of its own properties.
            dataset = builder.as_dataset(split="+".join(persons), read_config=settings)
    except NotImplementedError as error:
        raise ValueError(
            f"The copy of {builder.name} in {builder.data_dir} is prepared as "
            f"{builder.info.file_format.value}, of which TFDS makes no dataset. Remove it, so that "
            "it is prepared anew as tfrecord, or choose another data_dir."
        ) from error
    return dataset.map(lambda example: _example(example, head_pose), tf.data.AUTOTUNE)


def _example(example, head_pose):
    names = ("image", "head_pose") if head_pose else ("image",)
    return {name: example[name] for name in names}, example["gaze"]
