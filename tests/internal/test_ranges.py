"""The range of inputs that networks expect, from their first layers, and data outside of it."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import ecl_tf
from ecl_tf import preprocessing
from ecl_tf._internal import channels, first_layers, ranges
from ecl_tf.teachers.pretrained import ApplicationPreprocessing

LAYERS = keras.layers
UNIT = np.random.default_rng(0).random((16, 8, 8, 3), "float32")
BYTES = 255.0 * UNIT
STANDARD = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")


def network(*first, shape=(8, 8, 3)):
    x = inputs = keras.Input(shape)
    for layer in first:
        x = layer(x)
    return keras.Model(inputs, LAYERS.Dense(3)(LAYERS.Flatten()(x)))


def nested(x):
    return keras.Sequential([keras.Input((8, 8, 3)), LAYERS.Rescaling(1 / 255)])(x)


def mean_of_imagenet():
    return LAYERS.Normalization(mean=[123.7, 116.3, 103.5], variance=[3409.0, 3263.0, 3291.0])


COLOURS = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], "float32")  # Mean and deviation.
BYTE = {
    "a function": [LAYERS.Lambda(lambda x: x / 255.0)],
    "functions": [LAYERS.Lambda(lambda x: x[..., ::-1]), LAYERS.Lambda(lambda x: x / 127.5 - 1.0)],
    "scaled to [0, 1]": [LAYERS.Rescaling(1 / 255)],
    "scaled to [-1, 1]": [
        LAYERS.RandomFlip(),
        LAYERS.Resizing(4, 4),
        LAYERS.Rescaling(1 / 127.5, -1),
    ],
    "in a network": [nested],
    "division": [lambda x: x / 255.0],
    "caffe": [keras.applications.vgg16.preprocess_input],
    "tf": [keras.applications.mobilenet_v2.preprocess_input],
    "centred": [lambda x: (x - 127.5) / 127.5],
    "statistics": [mean_of_imagenet()],
    "torch": [LAYERS.Lambda(keras.applications.densenet.preprocess_input)],
    "its own": [ApplicationPreprocessing("MobileNetV2")],
    "value_range": [LAYERS.RandomFlip(), LAYERS.RandomBrightness(0.2)],
    "moved by operations": [
        lambda x: keras.ops.image.resize(x, (16, 16)),
        lambda x: keras.ops.pad(x, [[0, 0], [9, 9], [9, 9], [0, 0]]),
        LAYERS.MaxPooling2D(2),
        lambda x: keras.ops.image.extract_patches(x, (4, 4)),
        LAYERS.Rescaling(1 / 255),
    ],
    "moved by functions": [
        LAYERS.Lambda(tf.image.rgb_to_grayscale),
        LAYERS.Lambda(lambda x: tf.image.grayscale_to_rgb(tf.image.resize(x, (4, 4)))),
        LAYERS.Rescaling(1 / 255),
    ],
}
IN_0_TO_1 = {
    "times 255": [LAYERS.Rescaling(255.0), ApplicationPreprocessing("VGG16")],
    "statistics": [LAYERS.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.05, 0.05])],
    "to [-1, 1]": [LAYERS.Rescaling(2.0, -1.0)],
    "to [-1, 1] by operations": [lambda x: (x - 0.5) / 0.5],
    "by colour": [lambda x: (x - COLOURS[0]) / COLOURS[1]],
    "a function by colour": [LAYERS.Lambda(lambda x: (x - COLOURS[0]) / COLOURS[1])],
    "value_range": [LAYERS.RandomBrightness(0.2, value_range=(0, 1))],
    "both": [LAYERS.Rescaling(2.0), LAYERS.Normalization(mean=1.0, variance=0.3)],
}


@pytest.mark.parametrize("first", BYTE.values(), ids=BYTE)
def test_networks_for_images_of_0_to_255_refuse_those_in_0_to_1(first):
    asked = [("teacher", network(*first))]
    ranges.require_within(asked, BYTES)
    ranges.require_within(asked, np.zeros_like(BYTES))  # Tells nothing.
    with pytest.raises(
        ValueError, match=r"teacher .* expect .*255.*lie between 0\.0\d* and (1|0.99)"
    ):
        ranges.require_within(asked, UNIT)


@pytest.mark.parametrize("first", IN_0_TO_1.values(), ids=IN_0_TO_1)
def test_networks_for_images_in_0_to_1_refuse_those_of_0_to_255(first):
    asked = [("student", network(*first))]
    ranges.require_within(asked, UNIT)
    for wrong in (BYTES, BYTES.astype("uint8"), BYTES * (np.arange(64).reshape(8, 8, 1) < 13)):
        with pytest.raises(ValueError, match=r"student .* expect .*/ 255\.0.* and 25[45]"):
            ranges.require_within(asked, wrong)


def test_a_range_is_compared_under_xla():
    asked = [("student", network(*IN_0_TO_1["both"]))]
    assert tf.function(lambda x: ranges.outside(asked, x)[0], jit_compile=True)(BYTES)


def test_layers_behind_a_network_that_changes_no_scale_are_looked_at():
    varied = keras.Sequential([LAYERS.RandomFlip(), LAYERS.RandomRotation(0.1)])
    asked = [("student", network(varied, LAYERS.Rescaling(1 / 255)))]
    ranges.require_within(asked, BYTES)
    with pytest.raises(ValueError, match=r"student .* expect values from 0 to 255"):
        ranges.require_within(asked, UNIT)
    moved = [LAYERS.Lambda(tf.image.rgb_to_grayscale), lambda x: keras.ops.tile(x, (1, 1, 1, 3))]
    for first in (
        [varied, LAYERS.Conv2D(2, 3)],
        [*moved, LAYERS.SpectralNormalization(LAYERS.Conv2D(2, 3))],
        [*moved, LAYERS.Conv2DTranspose(2, 3)],
    ):
        with pytest.raises(ValueError, match="from 0 to 255, and neither network scales"):
            ranges.require_within([("student", network(*first))], BYTES)


def test_each_image_of_a_video_is_looked_at():
    def of_videos(*layers):
        steps = [LAYERS.TimeDistributed(layer) for layer in layers]
        return keras.Sequential([keras.Input((2, *BYTES.shape[1:])), *steps, LAYERS.Flatten()])

    of_image = keras.Sequential([keras.Input(BYTES.shape[1:]), LAYERS.Rescaling(1 / 255)])
    for first in (of_image, LAYERS.Rescaling(1 / 255)):
        asked = [("student", of_videos(first))]
        ranges.require_within(asked, np.stack([BYTES, BYTES], 1))
        with pytest.raises(ValueError, match=r"student .* expect values from 0 to 255"):
            ranges.require_within(asked, np.stack([UNIT, UNIT], 1))
    with pytest.raises(ValueError, match="from 0 to 255, and neither network scales"):
        ranges.require_within(
            [("student", of_videos(LAYERS.Conv2D(2, 3)))], np.stack([BYTES, BYTES], 1)
        )


@pytest.mark.parametrize("shape", [(28, 28), (784,), (3, 8, 8, 1)])
def test_grey_images_without_channels_and_grey_videos_are_known_by_whole_numbers(shape):
    asked = [("student", network(LAYERS.Flatten(), shape=shape))]
    pixels = np.random.default_rng(0).integers(0, 256, (16, *shape)).astype("uint8")
    ranges.require_within(asked, pixels / np.float32(255.0))
    for wrong in (pixels, pixels.astype("float32")):
        with pytest.raises(ValueError, match="from 0 to 255, and neither network scales"):
            ranges.require_within(asked, wrong)
    amounts = np.random.default_rng(0).random((16, *shape)).astype("float32") * 255.0
    ranges.require_within(asked, 10.0 * amounts)
    if len(shape) == 1:  # Spectra, for example.
        ranges.require_within(asked, amounts)
    else:
        with pytest.warns(UserWarning, match="If these inputs are images: .* neither network"):
            ranges.require_within(asked, amounts)


def test_images_without_channels_are_known_by_the_networks_input():
    asked = [("student", network(LAYERS.Conv2D(2, 3), shape=(8, 8, 1)))]
    pixels = np.random.default_rng(0).random((16, 8, 8)).astype("float32")
    ranges.require_within(asked, pixels)
    with pytest.raises(ValueError, match="from 0 to 255, and neither network scales"):
        ranges.require_within(asked, 255.0 * pixels)


def test_layers_that_tell_nothing_refuse_nothing():
    unknown = [LAYERS.Rescaling(3.0)], [LAYERS.Normalization()], [LAYERS.BatchNormalization()]
    functions = (
        lambda x: x / tf.reduce_max(x),
        lambda x: x - tf.reduce_mean(x),
        lambda x: tf.clip_by_value(x / 255.0, 0.0, 1.0) ** 0.5,
        lambda x: x / 255.0 + tf.random.normal(tf.shape(x)),
        lambda x: x / 7.0,
        lambda x: x > 100.0,
        lambda x: tf.clip_by_value(x, 0.0, 255.0) / 255.0,
        lambda x: abs(x) / 255.0,
        lambda x: tf.concat([x / 255.0, x], -1),
        lambda x: tf.concat([x / 255.0, x], 1),
        lambda x: tf.zeros_like(x),
    )
    scale = keras.Variable(np.ones(1))
    of_keras = (  # Of all pixels, and of what is trained.
        lambda x: x / keras.ops.max(x),
        lambda x: (x - keras.ops.mean(x)) / keras.ops.std(x),
        lambda x: keras.ops.sum(x) * x,
        lambda x: x * scale,
    )
    layers = [*unknown, *([LAYERS.Lambda(each)] for each in functions)]
    for first in (*layers, *([each] for each in of_keras)):
        model = network(*first)
        assert first_layers.expected_by(model) == {}
        assert ranges.outside([("student", model)], BYTES) == (None, "")


def test_images_from_0_to_255_that_no_network_scales_are_refused(tmp_path):
    plain_ones = [("student", plain()), ("teacher", plain())]
    words = BYTES.astype("uint16") * 257  # As of a picture of 16 bits.
    of_12_bits = np.round(BYTES * (4095 / 255))  # In the type that most programs make of them.
    for images, top in ((BYTES, 255), (BYTES.astype("uint8"), 255), (words, 65535)):
        with pytest.raises(ValueError, match=f"from 0 to {top}, and neither .*/ {top}.0"):
            ranges.require_within(plain_ones, images)
    for images in (of_12_bits, of_12_bits.astype("int32")):
        with pytest.raises(ValueError, match=r"neither .* between \d and 409[45]\."):
            ranges.require_within(plain_ones, images)
    late = np.concatenate([0.0 * BYTES[:8], 4.1 * BYTES])  # Amounts, after rows without any.
    for images in (UNIT, BYTES - 128.0, 4.1 * BYTES, late, BYTES[..., :2], BYTES[:, 0]):
        ranges.require_within(plain_ones, images)
    unknown = Subclassed(lambda x: tf.reduce_mean(x, [1, 2]))
    with pytest.raises(ValueError, match="neither network scales"):
        ranges.require_within([plain_ones[0], ("teacher", unknown)], BYTES)
    ranges.require_within([("student", unknown), plain_ones[1]], BYTES)  # It may scale them.
    scaled = ("teacher", network(LAYERS.Rescaling(3.0)))  # As it may have been trained.
    ranges.require_within([plain_ones[0], scaled], BYTES)
    distiller = ecl_tf.Distiller(plain(), plain())
    distiller.compile("adam")
    with pytest.raises(ValueError, match="neither network scales"):
        distiller.fit(tf.data.Dataset.from_tensor_slices(BYTES).batch(8), verbose=0)
    for run_eagerly in (True, False):
        distiller.compile("adam", run_eagerly=run_eagerly)
        scaled, in_bytes = (tf.data.Dataset.from_tensors(each[:8]) for each in (UNIT, BYTES))
        np.testing.assert_allclose(
            distiller.predict(scaled, verbose=0), distiller.student(UNIT[:8]), rtol=1e-6
        )
        with pytest.raises(ValueError, match="neither network scales"):
            distiller.predict(in_bytes, verbose=0)
    with pytest.raises(ValueError, match="neither network scales"):
        ecl_tf.calibrated(plain(), BYTES, np.zeros(len(BYTES), "int32"))
    with pytest.raises(ValueError, match="neither network scales"):
        # Of a student that was trained in another way this is not known.
        distiller.export(
            tmp_path / "s.tflite", format="litert", quantization="int8", examples=BYTES
        )


def test_a_list_of_inputs_is_predicted_from_as_it_is():
    image, row = keras.Input((8, 8, 3)), keras.Input((2,))
    x = LAYERS.Concatenate()([LAYERS.Flatten()(LAYERS.Rescaling(1 / 255)(image)), row])
    student = keras.Model([image, row], LAYERS.Dense(3)(x))
    distiller = ecl_tf.Distiller(student, keras.models.clone_model(student))
    inputs = [BYTES[:8], np.ones((8, 2), "float32")]
    np.testing.assert_allclose(distiller.predict(inputs, verbose=0), student(inputs), rtol=1e-5)
    outside = tf.data.Dataset.from_tensors(((100.0 * inputs[0], inputs[1]), np.zeros(8)))
    with pytest.raises(ValueError, match=r"student 'functional.*' expect"):
        distiller.predict(outside, verbose=0)


def test_features_of_a_table_are_compared_with_the_statistics_of_each():
    rng = np.random.default_rng(0)
    table = rng.normal([2000.0, 0.1], [5.0, 0.02], (64, 2)).astype("float32")
    inputs = {"row": keras.Input((2,), name="row"), "other": keras.Input((1,), name="other")}
    normalise = LAYERS.Normalization()
    normalise.adapt(table)
    x = LAYERS.Concatenate()([normalise(inputs["row"]), inputs["other"]])
    asked = [("student", keras.Model(inputs, LAYERS.Dense(3)(x)))]
    other = rng.normal(size=(64, 1))
    ranges.require_within(asked, {"row": table, "other": 1e6 * other})
    outlier = table.copy()
    outlier[0] = 1e9
    for rows in (64, 1):  # Alone in a batch, too.
        ranges.require_within(asked, {"row": outlier[:rows], "other": other[:rows]})
    alike = table[:1] + 1e-3 * table.std(0) * rng.normal(size=(16, 2))  # As of an explanation.
    ranges.require_within(asked, {"row": alike, "other": other[:16]})
    for wrong in (table * 1000.0, table / 1000.0, (table - table.mean(0)) / table.std(0)):
        with pytest.raises(ValueError, match=r"of input 'row' values around.*Give numbers in the"):
            ranges.require_within(asked, {"row": wrong, "other": other})


def test_a_normalization_that_was_never_adapted_is_told_of():
    message = "Normalization 'scales' of the student .* was never adapted"
    with pytest.warns(UserWarning, match=message):
        ranges.require_within([("student", network(LAYERS.Normalization(name="scales")))], UNIT)
    adapted = LAYERS.Normalization()
    adapted.adapt(UNIT)
    for layer in (adapted, LAYERS.Normalization(mean=0.0, variance=1.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ranges.require_within([("student", network(layer))], UNIT)


def of_image_and_age(nested, *first):
    inputs = {"image": keras.Input((8, 8, 3), name="image"), "age": keras.Input((1,), name="age")}
    x = inputs["image"]
    for layer in (*first, LAYERS.Conv2D(2, 3, name="channels"), LAYERS.Flatten()):
        x = layer(x)
    x = LAYERS.Concatenate()([x, inputs["age"]])
    return keras.Model(nested(inputs), LAYERS.Dense(3)(x))


def test_inputs_are_known_by_the_names_that_the_data_has():
    def as_list(inputs):
        return [inputs["image"], inputs["age"]]

    age = np.zeros((16, 1), "float32")
    data, raw = ({"image": each, "age": age} for each in (UNIT, BYTES))
    image = keras.Input((8, 8, 3), name="image")
    of_one = ("student", keras.Model(image, LAYERS.Dense(3)(LAYERS.Flatten()(image))))
    in_0_to_1 = ("teacher", of_image_and_age(dict, LAYERS.Rescaling(255.0)))
    for nested in (dict, as_list):
        for_bytes = ("student", of_image_and_age(nested, LAYERS.Rescaling(1 / 255)))
        ranges.require_within([for_bytes], raw)
        with pytest.raises(ValueError, match="input 'image' values from 0 to 255"):
            ranges.require_within([for_bytes], data)
        with pytest.raises(ValueError, match=r"'image' values from 0 to 255, and the .* 0 to 1"):
            ranges.require_equal([for_bytes, in_0_to_1])
        with pytest.warns(UserWarning, match="expects of input 'image' values from 0 to 255"):
            ranges.require_equal([of_one, for_bytes])
        (expected,) = first_layers.expected_in_training(of_one[1], [for_bytes[1]]).items()
        assert expected[0] == () and expected[1].words == "values from 0 to 255"
        unscaled = of_image_and_age(nested)
        with pytest.raises(ValueError, match=r"images of input 'image' .* neither network scales"):
            ranges.require_within([of_one, ("teacher", unscaled)], raw)
        assert channels.formats_of(unscaled, raw) == {("image",): ("channels_last", "channels")}
    with pytest.raises(ValueError, match="input '0' values from 0 to 255"):
        ranges.require_within([for_bytes], [UNIT, age])
    # The teacher alone takes them, and may have learned so.
    of_age = keras.Sequential([keras.Input((1,), name="age"), LAYERS.Dense(3)])
    ranges.require_within([("student", of_age), ("teacher", unscaled)], raw)


class Subclassed(keras.Model):
    """A network without symbolic inputs, which calls a function, then a dense layer."""

    def __init__(self, first):
        super().__init__()
        self.first, self.last, self.calls = first, LAYERS.Dense(3), 0

    def call(self, x):
        self.calls += 1
        return self.last(self.first(x))


def test_a_subclassed_network_is_called_once_with_symbolic_tensors():
    def asked(first, images=BYTES):
        found = Subclassed(first)
        found(images[:1])
        return [("teacher", found)]

    turn = keras.Sequential([LAYERS.RandomRotation(0.1)])  # It draws.
    for first in (LAYERS.Rescaling(1 / 255), lambda x: turn(x, training=True) / 255.0):
        ((_, teacher),) = for_bytes = asked(first)
        calls, layers = teacher.calls, teacher._flatten_layers(include_self=False)
        before = [(each, each._inbound_nodes[:], each.get_weights()) for each in layers]
        for _ in range(2):
            ranges.require_within(for_bytes, BYTES)
            with pytest.raises(ValueError, match=r"teacher .* expect values from 0 to 255"):
                ranges.require_within(for_bytes, UNIT)
        assert teacher.calls == calls + 1
        for layer, nodes, weights in before:
            assert layer._inbound_nodes == nodes
            keras.tree.map_structure(np.testing.assert_array_equal, layer.get_weights(), weights)
    with pytest.raises(ValueError, match=r"teacher .* from 0 to 255, and the student .* 0 to 1"):
        of_units = ("student", network(LAYERS.Rescaling(255.0)))
        ranges.require_equal([*for_bytes, of_units], tf.TensorSpec((None, 8, 8, 3)))
    with pytest.raises(ValueError, match="neither network scales"):
        ranges.require_within(asked(LAYERS.Identity()), BYTES)
    ids = np.array([[1, 4], [0, 5]])
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        ranges.require_within(asked(LAYERS.Embedding(5, 2), ids), ids)

    class Own(LAYERS.Layer):  # It may count its calls.
        def call(self, x):
            return x

    for unknown in (
        Own(),
        lambda x: tf.cast(x, tf.float32) / 255.0,
        lambda x: x / 255.0 if x[0, 0, 0, 0] > 1.0 else x,
    ):
        ((_, teacher),) = of_unknown = asked(unknown)
        calls = teacher.calls
        ranges.require_within(of_unknown, BYTES)
        ranges.require_within(of_unknown, UNIT)
        assert teacher.calls == calls + (not isinstance(unknown, Own))


def plain():
    return keras.Sequential([keras.Input((8, 8, 3)), LAYERS.Flatten(), LAYERS.Dense(3)])


@pytest.mark.slow
def test_a_distiller_refuses_other_ranges_of_its_networks_and_of_its_data():
    expects_bytes, expects_units = network(*BYTE["tf"]), network(*IN_0_TO_1["times 255"])
    with pytest.raises(ValueError, match=r"student .*from 0 to 255.*teacher .*from 0 to 1"):
        ecl_tf.Distiller(expects_bytes, expects_units)
    dataset = tf.data.Dataset.from_tensor_slices(BYTES).batch(8)
    for student, teacher in ((plain(), expects_units), (expects_units, plain())):
        distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
        distiller.compile("adam")
        before = student.get_weights()
        for run, data in ((distiller.fit, BYTES), (distiller.fit, dataset)):
            with pytest.raises(ValueError, match=r"expect values from 0 to 1"):
                run(data, verbose=0)
        keras.tree.map_structure(np.testing.assert_array_equal, student.get_weights(), before)
    with pytest.raises(ValueError, match=r"expect values from 0 to 1"):
        distiller.evaluate(dataset.map(lambda x: tf.cast(x, tf.uint8)), verbose=0)
    # The remedies.
    distiller.fit(dataset.map(lambda x: x / 255.0), verbose=0)
    scaled = preprocessing.with_preprocessing(expects_bytes, [LAYERS.Rescaling(255.0)], (8, 8, 3))
    distiller = ecl_tf.Distiller(expects_units, scaled)
    distiller.compile("adam", run_eagerly=True)
    distiller.fit(UNIT, verbose=0)


def test_one_network_that_scales_images_beside_one_that_does_not_is_told():
    for first in ("scaled to [0, 1]", "its own"):
        for pair in ((network(*BYTE[first]), plain()), (plain(), network(*BYTE[first]))):
            with pytest.warns(UserWarning, match=r"from 0 to 255, and the .* no layer that scales"):
                ecl_tf.Distiller(*pair)
    named = keras.Input((8, 8, 3), name="image")
    scaled = keras.Model({"image": named}, network(*BYTE["division"])(named))
    with pytest.warns(UserWarning, match=r"no layer that scales them.*Rescaling\(1 / 255\)"):
        ecl_tf.Distiller(plain(), scaled)
    normalised = network(LAYERS.BatchNormalization())  # It scales by itself.
    for other in (normalised, network(*BYTE["division"])):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            ecl_tf.Distiller(network(*BYTE["scaled to [0, 1]"]), other)
            ecl_tf.Distiller(network(*IN_0_TO_1["times 255"]), plain())


@pytest.mark.slow
def test_layers_of_a_sampler_need_the_range_of_the_images(tmp_path):
    def distiller(sampler):
        made = ecl_tf.Distiller(plain(), plain(), sampler=sampler)
        made.compile("adam", run_eagerly=True)
        return made

    augment, brighten = ecl_tf.samplers.Augment, LAYERS.RandomBrightness(0.2)
    within = augment(keras.Sequential([LAYERS.RandomFlip(), brighten]))
    dataset = tf.data.Dataset.from_tensor_slices(UNIT).batch(8)
    for sampler in (augment(brighten), ecl_tf.samplers.Choice(["Empirical", within])):
        for data in (UNIT, dataset):
            with pytest.raises(ValueError, match=r"brightness.* of Augment .*Give RandomBright"):
                distiller(sampler).fit(data, verbose=0)
    with pytest.raises(ValueError, match="Give RandomBrightness"):
        ecl_tf.replay.record(
            plain(), UNIT, directory=tmp_path, sampler=augment(brighten), batch_size=16
        )
    contrast = augment(LAYERS.RandomContrast(0.2))  # It clips what is below 0 or above 255.
    for data in (STANDARD, UNIT):
        with pytest.raises(ValueError, match=r"contrast.* of Augment .*Give RandomContrast"):
            distiller(contrast).fit(data, verbose=0)
    named = {"image": UNIT, "other": UNIT}
    found = [("who", "image", first_layers.expected_by_layers([brighten])[0])]
    with pytest.raises(ValueError, match="who expects values from 0 to 255"):
        ranges.require_within([], named, found)
    scaled = [LAYERS.Rescaling(255.0), LAYERS.RandomBrightness(0.2), LAYERS.Rescaling(1 / 255)]
    for layers in (LAYERS.RandomBrightness(0.2, value_range=(0, 1)), scaled):
        distiller(augment(layers)).fit(dataset, verbose=0)
    distiller(augment(LAYERS.RandomContrast(0.2, value_range=(0, 1)))).fit(UNIT, verbose=0)


class Fussy(LAYERS.Layer):
    """A softmax that nothing is known of before there is real data."""

    def call(self, x):
        if hasattr(x, "numpy"):
            raise NotImplementedError
        return tf.nn.softmax(x)


def test_the_first_batch_tells_of_probabilities_that_made_up_inputs_could_not():
    model = keras.Sequential([plain(), Fussy()])
    model.build((None, 8, 8, 3))
    for student, teacher, role in ((plain(), model, "teacher"), (model, plain(), "student")):
        distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
        distiller.compile("adam")
        with pytest.raises(ValueError, match=rf"step 1 .*The {role} .*add up to 1"):
            distiller.fit(UNIT, verbose=0)


def test_a_dark_first_batch_of_the_right_scale_is_none_of_another():
    images = BYTES[np.arange(512) % 16]
    images[:256] = np.random.default_rng(1).uniform(0.0, 1.0, images[:256].shape)
    scaled = LAYERS.Rescaling(1 / 255)

    def distiller():
        its = ecl_tf.Distiller(network(scaled), network(scaled), sampler="Empirical")
        its.compile("adam", run_eagerly=True)
        return its

    asked = [("teacher", network(scaled))]
    ranges.require_within(asked, images)
    ranges.require_within(asked, 1.9 * UNIT)  # Dark, and beyond [0, 1].
    ranges.require_within(asked, 128.0 + 0.3 * UNIT)  # Plain frames.
    its = distiller()
    its.fit(images, shuffle=False, batch_size=64, validation_data=(images[::-1],), verbose=0)
    assert int(its.step.numpy()) == 8
    stream = tf.data.Dataset.from_tensor_slices(images).batch(64)
    with pytest.raises(ValueError, match=r"If one batch only .* dark .*or arrays"):
        its.fit(stream, verbose=0)
    with pytest.raises(ValueError, match=r"lie between .* and 0\.99"):
        distiller().fit(images[:256], verbose=0)
    plain_one = ecl_tf.Distiller(plain(), plain(), sampler="Empirical", label_weight=1.0)
    plain_one.compile("adam", run_eagerly=True)
    labels = np.zeros(512, "int32")
    with pytest.raises(ValueError, match="neither network scales"):  # All of them go to 255.
        plain_one.fit(images[::-1].copy(), labels, validation_data=(images, labels), verbose=0)


@pytest.mark.parametrize(
    "first", [[LAYERS.Rescaling(255.0)], [LAYERS.Rescaling(1 / 127.5, -1.0)]], ids=["1", "255"]
)
def test_images_in_minus_1_to_1_are_refused_where_others_begin_at_0(first):
    asked = [("teacher", network(*first))]
    good = UNIT if first[0].scale > 1 else BYTES
    sharpened = good - 0.2 * np.max(good)  # Cubic resizing goes below 0.
    ranges.require_within(asked, sharpened)
    for rows in (8, 2):
        with pytest.raises(ValueError, match=r"teacher .* expect values from 0 .*\[-1, 1\].*-0\.9"):
            ranges.require_within(asked, 2.0 * UNIT[:rows] - 1.0)
