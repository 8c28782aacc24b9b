"""A run is continued by the same one alone: what differs is refused, or told."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_same_weights, network
from small_run import Preemption, X, Y, compiled, model, train

from ecl_tf import Distiller, replay, resume, samplers


def test_another_model_or_schedule_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match="other model and variables"):
        train(tmp_path, model(units=5))
    with pytest.raises(ValueError, match="other steps_per_epoch"):
        train(tmp_path, steps_per_epoch=2)
    with pytest.raises(ValueError, match="other callbacks"):
        train(tmp_path, callbacks=[keras.callbacks.TerminateOnNaN()])
    with pytest.raises(ValueError, match="has done 8 steps, more than steps=4"):
        train(tmp_path, steps=4)


def test_other_metrics_begin_anew_and_all_else_continues(tmp_path):
    def with_metrics(metrics):
        made = model()
        made.compile(keras.optimizers.Adam(0.1), made.loss, metrics=metrics, run_eagerly=True)
        return made

    wanted, its_history = train(tmp_path / "undisturbed", with_metrics(["accuracy"]))
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", with_metrics([]), callbacks=[Preemption(2, epoch=1)])
    top = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top")
    with pytest.warns(UserWarning, match=r"step-7.npz has other metrics .* begin anew"):
        again, history = train(
            tmp_path / "killed", with_metrics(["accuracy", top]), callbacks=[Preemption(-1)]
        )
    assert_same_weights(again, wanted)
    assert history["loss"][0] == its_history["loss"][0]
    assert history["loss"][1] != its_history["loss"][1]  # Of the last step alone.
    assert history["top"] == [1.0]


@pytest.mark.slow
def test_a_run_of_other_data_or_settings_is_refused_by_name(tmp_path, subtests):
    y = Y.astype("float32")

    def run(directory, made=None, data=(X, y), batch_size=8, seed=0, steps=4, **arguments):
        batches = resume.batches(data, batch_size, seed)
        arguments = {"callbacks": [keras.callbacks.ReduceLROnPlateau("loss")], **arguments}
        made = made or compiled()
        resume.fit(made, batches, directory, steps=steps, steps_per_epoch=2, verbose=0, **arguments)
        return made

    run(tmp_path)
    for arguments, message in [
        ({"data": (X + 1, y)}, r"other data\.arrays than this one"),
        ({"batch_size": 4}, r"other data\.batch_size \(8 there, 4 here\)"),
        ({"seed": 1}, r"other data\.seed \(0 there, 1 here\)"),
        (
            {"made": compiled(learning_rate=0.5)},
            r"optimizer\.learning_rate \(0.125 there, 0.5 here",
        ),
        ({"made": compiled(weight_decay=0.5)}, r"optimizer\.weight_decay \(None there, 0.5 here"),
        ({"made": compiled("mae")}, r"other loss"),
        ({"made": compiled(activation="tanh")}, r"other model"),
        ({"callbacks": []}, r"other callbacks"),
        ({"class_weight": {0: 1.0, 1: 2.0, 2: 3.0}}, r"class_weight\.0 \(None there, 1 here\)"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            run(tmp_path, **arguments)
    with pytest.warns(UserWarning, match=r"ReduceLROnPlateau.patience \(10 there, 9 here\)"):
        run(tmp_path, callbacks=[keras.callbacks.ReduceLROnPlateau("loss", patience=9)])
    with pytest.warns(UserWarning, match=r"had other arguments: validation_data\. "):
        run(tmp_path, validation_data=(X, y))

    schedule = keras.optimizers.schedules.CosineDecay(0.125, 100)  # Which is no variable.
    message = r"optimizer\.learning_rate.* a number as its learning rate throughout, or a schedule"
    with pytest.raises(ValueError, match=message):
        made = compiled(learning_rate=schedule)
        run(tmp_path, made, accept_changes=["optimizer.learning_rate"])

    # On purpose: as Keras trains on with another rate.
    wanted = compiled()
    data = resume.batches((X, y), 8, 0)
    wanted.fit(data(0), steps_per_epoch=4, verbose=0)
    wanted.optimizer.learning_rate = 0.5
    wanted.fit(data(4), steps_per_epoch=4, verbose=0)
    with pytest.warns(UserWarning, match=r"goes on with other optimizer.learning_rate"):
        made = run(
            tmp_path,
            compiled(learning_rate=0.5),
            steps=8,
            accept_changes=["optimizer.learning_rate"],
        )
    assert_same_weights(made, wanted)


def test_data_of_ones_own_is_known_by_its_first_batch(tmp_path):
    def run(data):
        resume.fit(model(), data.skip, tmp_path, steps=2, verbose=0)

    data = tf.data.Dataset.from_tensor_slices((X, Y)).repeat()
    run(data.batch(8))
    with pytest.raises(ValueError, match=r"other data\.first_batch than"):
        run(data.skip(1).batch(8))
    with pytest.raises(ValueError, match=r"other data\.element_spec and data\.first_batch"):
        run(data.batch(4, drop_remainder=True))
    with pytest.warns(UserWarning, match="another one at every call of `batches`"):
        resume.fit(model(), lambda step: data.shuffle(40).batch(8), tmp_path, steps=2, verbose=0)

    for name, skips in {
        "all": lambda step: data.batch(8),
        "rows": lambda step: data.skip(step).batch(8),
    }.items():
        with pytest.warns(UserWarning, match=r"after 1 step is not the second.*skip"):
            resume.fit(model(), skips, tmp_path / name, steps=2, verbose=0)

    class Own:
        def __call__(self, step):
            return data.batch(8).skip(step)

        def describe(self):
            return described

    described = ["a"]
    with pytest.raises(ValueError, match=r"describe\(\) of Own returns must be a dict.* is a list"):
        resume.fit(model(), Own(), tmp_path / "own", steps=2, verbose=0)
    described = {"names": {"a", "b"}}  # In another order in the next process.
    with pytest.raises(ValueError, match=r"values that JSON holds.*a set is none of these"):
        resume.fit(model(), Own(), tmp_path / "own", steps=2, verbose=0)
    described = {"mean": np.float32(0.5), "counts": np.arange(2)}
    resume.fit(model(), Own(), tmp_path / "own", steps=2, verbose=0)
    described = {"mean": 0.25, "counts": [0, 1]}
    with pytest.raises(ValueError, match=r"other data\.mean \(0\.5 there, 0\.25 here\) than"):
        resume.fit(model(), Own(), tmp_path / "own", steps=2, verbose=0)


def test_other_versions_are_told(tmp_path, monkeypatch):
    train(tmp_path)
    monkeypatch.setattr(keras, "__version__", "0.0")
    with pytest.warns(UserWarning, match=r"written by other versions: keras \('.*' there, '0.0'"):
        train(tmp_path)


def test_another_method_or_teacher_is_refused(tmp_path):
    def distil(teacher=1, **arguments):
        distiller = Distiller(network(0), network(teacher), **arguments)
        distiller.compile("sgd", run_eagerly=True)
        data = resume.batches((X,), batch_size=8, seed=0)
        return resume.fit(distiller, data, tmp_path, steps=4, steps_per_epoch=2, verbose=0)

    history = distil().history
    assert distil().history == history
    for arguments, name in [
        ({"temperature": 4.0}, "temperature"),
        ({"sampler": "Empirical"}, "sampler"),
        ({"divergence": "reverse_kl"}, "divergence"),
        ({"label_rows": "unmodified"}, "label_rows"),
        ({"seed": 7}, "seed"),
        ({"teacher": 2}, "teacher"),
    ]:
        with pytest.raises(ValueError, match=rf"other method\.{name}"):
            distil(**arguments)


def test_layers_that_draw_seeds_of_their_own_are_no_other_method(tmp_path):
    images = np.random.default_rng(0).random((16, 6, 6, 1)).astype("float32")
    histories = []
    for _ in range(2):
        layers = [keras.Input((6, 6, 1)), keras.layers.Flatten()]
        student, teacher = (
            keras.Sequential([*layers, keras.layers.Dense(2, kernel_initializer="ones")])
            for _ in range(2)
        )
        crop = samplers.Augment([keras.layers.RandomCrop(6, 6)])
        distiller = Distiller(student, teacher, sampler=crop)
        distiller.compile("sgd", run_eagerly=True)
        data = resume.batches((images,), batch_size=8, seed=0)
        histories.append(resume.fit(distiller, data, tmp_path, steps=2, verbose=0).history)
    assert histories[0] == histories[1]


def test_the_store_is_a_part_of_the_method():
    def described(answered_by):
        teacher = replay.RecordedTeacher("categorical", "Empirical", 8, answered_by)
        return Distiller(model(), teacher, sampler="Empirical").describe_method()

    assert described("one") == described("one") != described("two")
