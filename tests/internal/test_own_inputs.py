"""Networks get their own inputs by name; data that fits no network is refused."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from by_hand import CLASSES, SIZE, Subclassed, dataset, kl, linear, logits, numbers, weights

import ecl_tf
from ecl_tf import Distiller, replay, resume
from ecl_tf._internal import labelled
from ecl_tf.replay import draws

X = numbers(8, SIZE, seed=1)
LABELS = np.arange(8) % CLASSES
OF_STUDENT, OF_TEACHER = weights(seed=2), weights(seed=3)


def of_left(container):
    """A teacher that looks at the first input alone, of two."""
    left, right = keras.Input((SIZE,), name="left"), keras.Input((SIZE,), name="right")
    given = {"left": left, "right": right} if container is dict else [left, right]
    return keras.Model(given, linear(OF_TEACHER)(left) + 0.0 * linear(OF_TEACHER)(right))


def of_right(container):
    """A student that takes the second input only."""
    right = keras.Input((SIZE,), name="right")
    given = {"right": right} if container is dict else right
    return keras.Model(given, linear(OF_STUDENT)(right))


@pytest.mark.parametrize("container", [dict, list])
def test_a_network_of_fewer_inputs_gets_those_with_its_names(container):
    features = [keras.distillation.FeatureDistillation("mse")]
    distiller = Distiller(of_right(container), of_left(container), feature_losses=features)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    x = {"left": X, "right": X[::-1].copy()}
    distiller.fit(x, verbose=0)  # The default sampler asks the student, too.
    p, q = logits(X, OF_TEACHER), logits(X[::-1], OF_STUDENT)
    found = distiller.evaluate(x, verbose=0, return_dict=True)["divergence"]
    np.testing.assert_allclose(found, kl(p, q).mean(), rtol=1e-5)
    np.testing.assert_allclose(distiller.predict(x, verbose=0), q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distiller.teacher.predict(x, verbose=0), p, rtol=1e-4, atol=1e-5)


class Rows(keras.utils.PyDataset):
    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.batch


NAMED = {"image": X, "label": LABELS}


def test_a_dict_that_holds_labels_is_refused_wherever_data_is_given(subtests, tmp_path):
    distiller = Distiller(linear(OF_STUDENT), linear(OF_TEACHER))
    distiller.compile("adam")
    image = keras.Input((SIZE,), name="image")
    of_image = keras.Model(image, keras.layers.Dense(CLASSES)(image))
    named = Distiller(of_image, keras.models.clone_model(of_image))
    named.compile("adam")
    subclassed = Distiller(Subclassed(), Subclassed())
    subclassed.compile("adam")
    rows = dataset(NAMED).batch(4)
    uses = {
        "fit on a dataset": lambda: distiller.fit(rows),
        "fit on arrays": lambda: distiller.fit(NAMED),
        "fit on a PyDataset": lambda: distiller.fit(Rows(NAMED)),
        "validation": lambda: distiller.fit(X, validation_data=rows),
        "evaluate": lambda: distiller.evaluate(rows),
        "predict": lambda: distiller.predict(rows),
        "train_on_batch": lambda: distiller.train_on_batch(NAMED),
        "an input of the same name": lambda: named.fit(rows),
        "subclassed networks": lambda: subclassed.fit(rows),
        "calibrated": lambda: ecl_tf.calibrated(linear(OF_TEACHER), rows),
        "residual_stddev": lambda: ecl_tf.teachers.residual_stddev(linear(OF_TEACHER), rows),
        "record": lambda: replay.record(of_image, NAMED, directory=tmp_path, batch_size=4),
    }
    for name, use in uses.items():
        with (
            subtests.test(name),
            pytest.raises(ValueError, match=r"(?s)as_supervised.*row\['image"),
        ):
            use()
    assert int(distiller.step.numpy()) == 0


@pytest.mark.parametrize(
    ("x", "facts"),
    [
        ({"left": X}, r"\['left'\], but the student .* \['right'\].*\['left', 'right'\]"),
        ([X, X, X], "3 tensors without names, .*Give one tensor for each"),
        (X, "one tensor without a name"),
    ],
)
def test_missing_inputs_are_refused_with_all_names(x, facts):
    distiller = Distiller(of_right(list), of_left(list))
    distiller.compile("adam")
    with pytest.raises(ValueError, match=facts):
        distiller.fit(x)


def test_a_list_of_inputs_stays_one():
    distiller = Distiller(of_left(list), of_left(list))
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit([X, X], verbose=0)
    assert distiller.predict([X, X], verbose=0).shape == (8, CLASSES)


def test_what_is_missing_among_texts_is_named_wherever_data_is_given(subtests, tmp_path):
    inputs = {"a": keras.Input((SIZE,), name="a"), "town": keras.Input((1,), dtype="string")}
    codes = keras.layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")(inputs["town"])
    joined = keras.layers.Concatenate()([inputs["a"], codes])
    network = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
    distiller = Distiller(network, keras.models.clone_model(network), sampler="Swap")
    distiller.compile("adam")
    towns = np.array([["x"], ["y"], [None], ["x"]], object)
    x, y, path = {"a": X[:4], "town": towns}, LABELS[:4], tmp_path / "there"
    uses = {
        "fit": lambda: distiller.fit(x),
        "evaluate": lambda: distiller.evaluate(x),
        "predict": lambda: distiller.predict(x),
        "calibrated": lambda: ecl_tf.calibrated(network, x, y),
        "conformal": lambda: ecl_tf.conformal(network, x, y, output="categorical"),
        "record": lambda: replay.record(network, x, directory=path, batch_size=4, sampler="Swap"),
        "measure": lambda: ecl_tf.evaluation.measure(
            {"student": network}, x, y, output="categorical"
        ),
        "batches": lambda: ecl_tf.resume.batches((x, y), 4, seed=0),
        "export": lambda: distiller.export(path, examples=x),
    }
    for name, use in uses.items():
        with (
            subtests.test(name),
            pytest.raises(ValueError, match=r"town' hold texts, and None in row 2.*'' for missing"),
        ):
            use()
    assert not path.exists()
    x = {"a": X[:4], "town": np.array([["x"], ["y"], ["y"], ["x"]], object)}
    with pytest.raises(ValueError, match=r"of object of the shape \(None, 1\).*tf\.constant\(x\)"):
        distiller.fit(x, verbose=0)  # Keras's own words are "Invalid dtype: object".
    assert distiller.fit({**x, "town": tf.constant(x["town"])}, verbose=0).history["loss"]


RAGGED = tf.ragged.constant([[1.0, 2.0], [3.0], [4.0, 5.0, 6.0], [7.0]])


def test_ragged_and_sparse_tensors_are_refused_with_the_remedy(subtests):
    distiller = Distiller(linear(OF_STUDENT), linear(OF_TEACHER), sampler="Empirical")
    distiller.compile("adam")
    csr = scipy.sparse.csr_matrix(X)
    uses = {
        "ragged": lambda: distiller.fit(dataset(RAGGED).batch(2)),
        "ragged in a PyDataset": lambda: distiller.fit(Rows(RAGGED)),
        "ragged labels": lambda: distiller.fit(
            tf.data.Dataset.zip(dataset(X[:4]), dataset(RAGGED))
        ),
        "ragged validation": lambda: distiller.fit(X, validation_data=dataset(RAGGED).batch(2)),
        "ragged evaluation": lambda: distiller.evaluate(dataset(RAGGED).batch(2)),
        "sparse": lambda: distiller.fit(dataset(tf.sparse.from_dense(X)).batch(2)),
        "sparse SciPy": lambda: distiller.fit(csr),
        "sparse calibration": lambda: ecl_tf.calibrated(linear(OF_TEACHER), csr, LABELS),
        "sparse function": lambda: ecl_tf.teachers.FunctionTeacher(len, "categorical", csr),
        "lists": lambda: distiller.fit(np.array([[1, 2], [3]] * 4, object)),
    }
    for name, use in uses.items():
        kind = name.split()[0]
        remedy = {"ragged": "to_tensor", "sparse": "to_dense", "lists": "pad_sequences"}[kind]
        with subtests.test(name), pytest.raises(ValueError, match=f"(?s){kind}.*{remedy}"):
            use()
    assert int(distiller.step.numpy()) == 0


def test_inputs_of_the_other_network_alone_may_be_there(tmp_path):
    x = {"left": X, "right": 2.0 * X}
    student = of_right(dict)
    ecl_tf.export_student(student, "categorical", tmp_path / "student", examples=x)
    answered = ecl_tf.load_student(tmp_path / "student")({"right": x["right"]})
    expected = keras.ops.softmax(student({"right": x["right"]}))
    np.testing.assert_allclose(answered.probs_parameter(), expected, atol=1e-5)


def test_measure_and_exported_students_take_frames_with_truths(tmp_path):
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0})
    rows = np.stack([X[:, 0], X[:, 1] > 0], 1).astype("float32")
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(CLASSES)])
    how = {"output": "categorical"}
    found, expected = (
        ecl_tf.evaluation.measure(network, x, LABELS, names=[], **how) for x in (frame, rows)
    )
    assert found == expected
    ecl_tf.export_student(network, "categorical", tmp_path / "student")
    student = ecl_tf.load_student(tmp_path / "student")
    np.testing.assert_array_equal(student(frame).logits, student(rows).logits)
    with pytest.raises(ValueError, match=r"are an array of objects.*np\.asarray\(x, 'float32'\)"):
        ecl_tf.conformal(network, frame.to_numpy(), LABELS, **how)


def test_truth_values_beside_numbers_in_a_frame_are_numbers():
    frame = pd.get_dummies(pd.DataFrame({"size": [1.5, 2.5], "kind": ["a", "b"]}))
    expected = [[1.5, 1.0, 0.0], [2.5, 0.0, 1.0]]
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    (of_labels, _), *_ = labelled.dataset("calibrated", frame, np.arange(2), 2, [student])
    (of_run,), *_ = resume.batches((frame,), 2, seed=0)(0).take(1)
    (of_store,) = draws.Rows(frame)(tf.range(2))
    for found in (of_labels, of_run, of_store):
        np.testing.assert_array_equal(np.asarray(found)[np.argsort(found[:, 0])], expected)
