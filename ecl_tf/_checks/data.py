"""What a `Distiller` refuses of data before the first batch."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ecl_tf import outputs, samplers, teachers
from ecl_tf._checks import labels, networks, rows, settings, step
from ecl_tf._internal import batches, endless, finite, own_inputs, ranges, symbolic
from ecl_tf.samplers import suitable

_PARTS = {"x": "inputs", "y": "labels", "sample_weight": "weights"}


def training(distiller, x, y, sample_weight, batch_size, steps, class_weight):
    """Refuses what `fit` can't train on, before anything is traced.

    Args:
        distiller: the `Distiller`. A student that is not built is built from the data's specs.
        x: what `fit` was given.
        y: the same.
        sample_weight: the same.
        batch_size: the same.
        steps: `fit`'s steps_per_epoch.
        class_weight: the same.
    """
    batches.require_rows(x, "train on")
    _arrays(x, y, sample_weight)
    labels.class_weight(class_weight, x, y, distiller)
    _of_training(x, y, distiller)
    endless.require_end(x, steps, "steps_per_epoch")
    networks.divergence(distiller.divergence, distiller.output_kind, distiller.student)
    networks.still_trained(distiller.student, distiller.optimizer)
    settings.optimizer(distiller.optimizer)
    if isinstance(output := distiller.output_kind, outputs.Joint):
        outputs.Joint(output.outputs, output.weights)  # They may have changed in place.
    labels.of_data(x, y, distiller)
    rows.fixed_rows(x, batch_size, distiller)
    rows.partners(x, batch_size, distiller.sampler)


def evaluation(distiller, x, y, sample_weight, batch_size, steps, argument):
    """Refuses data that a distiller can't be evaluated on, before the first batch.

    Args:
        distiller: the `Distiller`.
        x: what `evaluate` was given.
        y: the same.
        sample_weight: the same.
        batch_size: rows of the batches of arrays; None for Keras's own.
        steps: how many batches to take, or None.
        argument: the name of that argument.
    """
    if isinstance(x, batches.Weighted):  # In the place of inputs, for Keras.
        x = x.inputs
    batches.require_rows(x, "evaluate" if argument == "steps" else "validate on")
    _arrays(x, y, sample_weight)
    endless.require_end(x, steps, argument)
    networks.divergence(distiller.divergence, distiller.output_kind, distiller.student)
    _inputs(x, y, distiller._networks())
    _inputs_in_range(x, distiller._networks())
    if (inputs := batches.element_spec(x)) is not None:
        if isinstance(x, tf.data.Dataset):
            inputs, its_y, _ = batches.unpack(inputs)
            its_y = None if isinstance(its_y, tf.NoneTensorSpec) else its_y
        else:
            its_y = y
            _equal_rows(x, y, sample_weight)
        networks.require_fit(distiller._networks(), samplers.inputs_of(inputs), x)
        if its_y is None and distiller._evaluate_teacher:
            labels.require_fit(distiller.label_weight, None, distiller.output_kind, None)
    rows.fixed_rows(x, batch_size, distiller)
    labels.of_data(x, y, distiller)


def _equal_rows(x, y, sample_weight):
    """Refuses arrays of which some have other numbers of rows."""
    counts = {
        name: {
            leaf.shape[0] for leaf in keras.tree.flatten(part) if len(getattr(leaf, "shape", ()))
        }
        for name, part in {"inputs": x, "labels": y, "weights": sample_weight}.items()
    }
    if len(set.union(*counts.values())) > 1:
        told = ", ".join(f"{sorted(each)} of {name}" for name, each in counts.items() if each)
        raise ValueError(f"All arrays need the same number of rows; got {told}.")


def batch(distiller, x, y, sample_weight, class_weight):
    """Refuses arguments of `train_on_batch` or `test_on_batch` that Keras takes for others.

    Args:
        distiller: the `Distiller`.
        x: inputs.
        y: labels, or None.
        sample_weight: weights, or None; those of a batch may all be 0.
        class_weight: weights of classes, or None.
    """
    _arrays(x, y, sample_weight, may_lack_weight=True)
    labels.class_weight(class_weight, x, y, distiller)


def prediction(distiller, x, steps):
    """Refuses inputs that the student can't answer.

    Args:
        distiller: the `Distiller`.
        x: what `predict` was given.
        steps: the same.
    """
    batches.require_rows(x, "predict from")
    endless.require_end(x, steps, "steps")
    _arrays(x)
    if (inputs := batches.element_spec(x)) is not None:
        if isinstance(x, tf.data.Dataset):
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(inputs)
        own_inputs.require_shapes(inputs, distiller.student, "student")
    _inputs_in_range(x, distiller._networks())


def same_scale(x, its_x):
    """Refuses arrays of images in [0, 1] beside others from 0 to 255.

    Args:
        x: inputs to train on.
        its_x: inputs to validate on.
    """
    if isinstance(x, tf.data.Dataset) or isinstance(its_x, tf.data.Dataset):
        return
    if batches.element_spec(x) is None or batches.element_spec(its_x) is None:
        return
    for own, its in zip(keras.tree.flatten(x), keras.tree.flatten(its_x), strict=False):
        if len(own.shape) < 4 or own.dtype != its.dtype or not len(own) or not len(its):
            continue
        highest = [float(np.max(each[:256])) for each in (own, its)]
        if min(highest) > 1.0 or max(highest) <= 127.0:
            continue
        highest = [float(np.max(each)) for each in (own, its)]  # The first ones may be dark.
        if min(highest) <= 1.0:
            raise ValueError(
                f"The images to train on go up to {highest[0]:g}, and those to validate on up to "
                f"{highest[1]:g}. Give both the same scale, such as images / 255."
            )


def _arrays(x=None, y=None, sample_weight=None, may_lack_weight=False):
    """Refuses lists of numbers, types of pandas, which Keras does not take, and parts of streams.

    Args:
        x: what `fit` or `evaluate` was given; None, the default, for nothing.
        y: the same.
        sample_weight: the same.
        may_lack_weight: whether all weights may be 0; False by default.
    """
    for name, given in {"x": x, "y": y, "sample_weight": sample_weight}.items():
        batches.require_arrays(given, name)
        if name != "x" and given is not None and batches.is_stream(x):
            raise ValueError(
                f"{name} is given beside a {type(x).__name__}, whose batches have "
                f"{_PARTS[name]} themselves. Give batches (inputs, labels, weights), or (inputs, "
                "None, weights): tf.data.Dataset.zip adds them before rows are shuffled, and "
                "store.batches(x, y, sample_weight=...) to what was recorded."
            )
        own_inputs.require_dense(given, _PARTS[name])
        for path, leaf in keras.tree.flatten_with_path(given):
            dtype, of = getattr(leaf, "dtype", None), "".join(f"[{each!r}]" for each in path)
            if getattr(dtype, "kind", "") in ("M", "m"):
                raise ValueError(
                    f"{name} holds dates or times ({dtype}); expected numbers, such as days since "
                    f"a date: ({name} - first) / np.timedelta64(1, 'D')."
                )
            if type(leaf).__module__.startswith("pandas") and not isinstance(
                dtype, np.dtype | None
            ):
                kind = "object" if pd.api.types.is_string_dtype(leaf) else "'float32'"
                raise ValueError(
                    f"{name}{of} is of the type {dtype} of pandas, which Keras does not take. Give "
                    f"np.asarray({name}{of}, {kind})."
                )
    weights = keras.tree.flatten(sample_weight)
    for leaf in weights:
        batches.require_numbers(leaf)
    arrays = [np.asarray(leaf) for leaf in weights if hasattr(leaf, "__array__")]
    finite.require_rows(arrays, "The weights in sample_weight")
    sums = [array.sum(dtype="float64") for array in arrays if array.size]
    # One of several outputs may have no row that counts.
    lacks_weight = len(sums) == len(weights) and not any(sums) and not may_lack_weight
    if sums and (min(sums) < 0.0 or lacks_weight):
        raise ValueError(batches.NO_WEIGHT.format(min(sums)))


def _of_training(x, y, distiller):
    """Refuses data that a distiller can't train on, by its specs, before anything is traced.

    Args:
        x: what `fit` was given.
        y: the same.
        distiller: the `Distiller`.
    """
    asked, sampler, label_weight = distiller._networks(), distiller.sampler, distiller.label_weight
    adds_rows = settings.appends(sampler, label_weight, distiller.label_rows)
    networks.trained(asked.student)
    networks.apart(asked.teacher, asked.student)
    networks.finite_weights(asked)
    element = batches.element_spec(x)
    _inputs(x, y, asked)
    if element is None:
        return  # Only its iteration would tell; the step's own checks remain.
    inputs = element
    if isinstance(x, tf.data.Dataset):
        inputs, y, _ = batches.unpack(element)
    is_recorded = isinstance(inputs, samplers.Samples)
    if is_recorded:
        if adds_rows:
            raise ValueError(
                f"label_weight={label_weight} needs the unmodified rows beside the recorded "
                "samples, which a store does not give. Use label_weight=0, or, of a sampler that "
                "keeps rows, label_rows='unmodified'."
            )
        _recorded(inputs, asked, sampler)
        replicas = distiller.distribute_strategy.num_replicas_in_sync
        if inputs.mixture and replicas > 1:
            raise ValueError(
                f"The recorded samples are mixtures of rows of one step ({sampler!r}), and each of "
                f"{replicas} replicas would get a part of the step's rows, without their partners. "
                "Train from the store on one replica, or with the teacher itself on several."
            )
        inputs = inputs.inputs
        if sampler.proposer.asks_networks:
            suitable.require_stored(inputs, asked)
    elif not asked.teacher.answers_new_inputs:
        raise ValueError(
            "This distiller's teacher is a store of recorded answers, which has none for "
            "other inputs. Fit it on the store's own samples: distiller.fit(store.batches("
            "x, y), steps_per_epoch=...)."
        )
    networks.require_fit(asked, inputs, x)
    _inputs_in_range(x, asked, () if is_recorded else suitable.expected_ranges(sampler))
    rows.row_counts(asked, sampler, adds_rows)
    suitable.require(sampler, inputs, asked)
    suitable.warn_of_codes(sampler, inputs, asked.teacher)
    suitable.warn_of_whole_texts(sampler, inputs)
    suitable.warn_of_two_forms(sampler, inputs, asked)
    suitable.warn_of_lacking_channels(sampler, inputs, asked.student)
    if batches.are_arrays(x) and isinstance(asked.teacher, teachers.FunctionTeacher):
        asked.teacher._compare(samplers.inputs_of(x))
    networks.trained(asked.student)  # It may have been built just now.
    networks.warn_of_order(asked)
    networks.warn_of_own_views(asked.student)
    if label_weight > 0.0 and y is None:
        labels.require_fit(label_weight, y, asked.output, None)


def _recorded(samples, asked, sampler):
    """Refuses recorded samples that were read for another sampler, or answered otherwise."""
    if not _read_as_recorded(samples, asked.teacher, sampler):
        raise ValueError(
            "The recorded samples were read for another sampler than the distiller's, "
            f"{sampler!r}: their kinds, or the numbers of candidates that one is chosen "
            "of, differ. Give both the same: store.batches(x, y, sampler=sampler)."
        )
    if not samples.member_outputs:
        return
    stored = keras.tree.map_structure(lambda spec: spec.shape, samples.member_outputs[0])
    own = symbolic.output_shape(asked.student, samples.inputs)
    teacher = asked.teacher.output_kind
    there, here = teacher.event_size(stored), asked.output.event_size(own)
    if there != here or not asked.output.can_learn_from(teacher):
        raise ValueError(
            f"The stored answers are {teacher.family}, of size {there}, and the student's output "
            f"is {asked.output.family}, of size {here}; they must be the same to be matched."
        )


def _read_as_recorded(samples, teacher, sampler):
    if (sampler.candidates > 1) != bool(samples.uncertainty):
        return False
    if teacher.answers_new_inputs:
        return True  # A live teacher: only the samples are recorded.
    rows = keras.tree.flatten(samples.inputs)[0].shape[0]
    as_many = sampler.candidates == 1 or rows in (None, teacher.batch_size * sampler.candidates)
    return type(sampler.proposer).__name__ == teacher.sampler and as_many


def _inputs(x, y, asked):
    """Refuses data whose inputs the networks can't take, by its specs.

    Args:
        x: what `fit` or `evaluate` was given.
        y: the same.
        asked: as in `data`.
    """
    if isinstance(x, tf.data.Dataset):
        x, y, sample_weight = batches.unpack(x.element_spec)
        step.batch(x, y, sample_weight, asked)
        return
    if batches.element_spec(x) is not None:
        step.batch(x, y, None, asked)


def _inputs_in_range(x, asked, others=()):
    """Refuses arrays of inputs of another scale than a network, or something else, expects."""
    if batches.are_arrays(x):
        ranges.require_within(networks.with_roles(asked), samplers.inputs_of(x), others)
