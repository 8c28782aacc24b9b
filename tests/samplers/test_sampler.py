"""What all samplers promise: purity, structure, compilation, serialization."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import numbers

from ecl_tf import samplers, uncertainty
from ecl_tf._internal import random
from ecl_tf.samplers import (
    Chain,
    Choice,
    DirichletMixup,
    Empirical,
    GaussianNoise,
    Mix,
    Mixup,
    Uncertain,
)

NOBODY = uncertainty.Networks(None, None, None)


@keras.saving.register_keras_serializable("ecl_tf_tests")
def pixel(answers):
    """A score that asks no network."""
    return tf.abs(answers.inputs["image"][:, 0, 0, 0])


def flip():
    return samplers.Augment(keras.layers.RandomFlip("horizontal"), key="image")


def moved():
    return Uncertain(Choice(["Empirical", Mix(group_size=4)]), 2, pixel, 1.0, group_size=4)


def generated():
    z = keras.Input((62,))
    image = keras.layers.Reshape((6, 5, 2))(z[:, 2:])
    return samplers.Generated(keras.Model(z, {"image": image, "head_pose": z[:, :2]}))


MAKE = {
    "Empirical": Empirical,
    "Mixup": lambda: Mixup(group_size=4),
    "Mix": lambda: Mix(group_size=4),
    "DirichletMixup": lambda: DirichletMixup(group_size=4),
    "GaussianNoise": lambda: GaussianNoise({"image": 0.1, "head_pose": 0.2}),
    "Augment": flip,
    "Generated": generated,
    "Choice": lambda: Choice(["Empirical", Mixup(group_size=4), flip()], [0.3, 0.3, 0.4]),
    "Chain": lambda: Chain([moved(), Choice(["Empirical", GaussianNoise(0.1)]), moved()]),
    "Uncertain": lambda: Uncertain(Mix(group_size=4), 3, pixel, 0.0, group_size=4),
    "Uncertain, drawn": lambda: Uncertain("Empirical", 2, pixel, 1.0, group_size=4),
    "Swap": lambda: samplers.Swap(0.4, padding={"head_pose": 0.0}, group_size=4),
    "Mix and swap": lambda: Mix(group_size=4, swap=["head_pose"]),
    "Munge": lambda: samplers.Munge(0.4, 1.0, True, group_size=4),
    "Noise by column": lambda: GaussianNoise(0.3, relative=True, group_size=4),
    "TowardUncertainty": lambda: samplers.TowardUncertainty(Mix(group_size=4), pixel, 0.3, 4),
    "UncertaintyMixup": lambda: samplers.UncertaintyMixup(0.25, pixel, 0.4, group_size=4),
}


@pytest.fixture(params=MAKE)
def sampler(request):
    return MAKE[request.param]()


def batch(rows=6, dtype="float32"):
    images, poses = numbers(rows, 6, 5, 2), numbers(rows, 2, seed=1)
    return {"image": images.astype(dtype), "head_pose": poses.astype(dtype)}


def flat(samples):
    return [np.asarray(leaf) for leaf in keras.tree.flatten(samples)]


def assert_same(a, b, **tolerance):
    for x, y in zip(flat(a), flat(b), strict=True):
        np.testing.assert_allclose(x, y, **{"rtol": 0, **tolerance})


def differ(a, b):
    return any(np.any(x != y) for x, y in zip(flat(a), flat(b), strict=True))


# Purity and structure


def test_a_sample_is_a_function_of_inputs_and_seed_alone(sampler):
    inputs = {name: tf.Variable(x) for name, x in batch().items()}
    first = sampler(inputs, 3, NOBODY)
    assert_same(inputs, batch())
    keras.utils.set_random_seed(1)
    assert_same(first, sampler(batch(), tf.constant([3, 0]), NOBODY))
    if not isinstance(sampler, Empirical):
        assert differ(first.inputs, batch())
        # The second word's part is tested with the random numbers themselves.
        assert differ(first, sampler(batch(), tf.constant([4, 0]), NOBODY))
    with pytest.raises(ValueError, match="A seed is an integer"):
        sampler(batch(), 1.5, NOBODY)


def test_rows_that_are_marked_unmodified_are_those_of_their_sources(sampler):
    inputs = batch(rows=64)
    samples = sampler(inputs, 0, NOBODY)
    kept, sources = samples.unmodified.numpy(), samples.follow(np.arange(64))
    for name, x in inputs.items():
        np.testing.assert_array_equal(samples.inputs[name].numpy()[kept], x[sources][kept])
    assert np.any(kept) or not sampler.keeps_rows


@pytest.mark.parametrize(("rows", "dtype"), [(6, "float16"), (1, "float32")], ids=str)
def test_structure_shapes_and_dtypes_are_kept(sampler, rows, dtype):
    inputs = batch(rows, dtype)
    samples = sampler(inputs, 0, NOBODY)
    assert set(samples.inputs) == set(inputs)
    for name, x in inputs.items():
        assert samples.inputs[name].shape == x.shape
        assert samples.inputs[name].dtype == x.dtype
        assert np.all(np.isfinite(samples.inputs[name]))
    assert samples.unmodified.shape == (rows,)
    assert samples.unmodified.dtype == tf.bool


@pytest.mark.parametrize("make", [Empirical, Mixup, DirichletMixup, lambda: GaussianNoise(0.1)])
def test_one_tensor_of_any_rank_and_tuples_of_them(make):
    for shape in ((6,), (6, 2, 3, 4, 5)):
        x = numbers(*shape)
        assert make()(x, seed=0).inputs.shape == shape
        pair = make()((x, tf.zeros((6, 1))), seed=0).inputs
        assert isinstance(pair, tuple)
        assert pair[0].shape == shape and pair[1].shape == (6, 1)
    assert make()([[1.0], [2.0]], seed=0).inputs.shape == (2, 1)  # Nested lists are one tensor.


def test_float16_coefficients_are_close_to_float32_ones():
    half, single = (Mixup()(batch(dtype=d), seed=0).inputs for d in ("float16", "float32"))
    np.testing.assert_allclose(half["image"], single["image"], atol=0.02)


# Graphs. To trace and to compile is what takes the time, so one has several samplers (Choice
# has those that are not named).


def draw_each(*names):
    each = {name: MAKE[name]() for name in names}
    return lambda inputs, seed: {name: its(inputs, seed, NOBODY) for name, its in each.items()}


@pytest.mark.slow
def test_a_graph_with_any_batch_size_gives_the_eager_sample():
    draw = draw_each(
        "Chain", "Choice", "DirichletMixup", "GaussianNoise", "Generated", "Swap", "Uncertain"
    )
    shapes = {"image": [None, 6, 5, 2], "head_pose": [None, 2]}
    signature = {name: tf.TensorSpec(shape) for name, shape in shapes.items()}
    graph = tf.function(draw, input_signature=[signature, tf.TensorSpec([2], tf.int32)])
    for rows in (1, 6):
        inputs = {name: tf.constant(x) for name, x in batch(rows).items()}
        expected = draw(inputs, 5)
        for name, samples in graph(inputs, tf.constant([5, 0])).items():
            assert_same(samples, expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_xla_compiles_them_with_the_seed_as_an_argument_and_static_shapes():
    """Every other sampler is compiled in test_xla."""
    draw, traces = draw_each("Augment", "Mix and swap", "Uncertain, drawn"), []

    @tf.function(jit_compile=True)
    def compiled(inputs, seed):
        drawn = draw(inputs, seed)
        traces.append([leaf.shape.as_list() for leaf in keras.tree.flatten(drawn)])
        return drawn

    inputs = {name: tf.constant(x) for name, x in batch().items()}
    for number in (5, 6):
        drawn, expected = compiled(inputs, tf.constant([number, 0])), draw(inputs, number)
        # Keras layers draw other numbers under XLA than without; flips they stay.
        image, x = drawn.pop("Augment").inputs["image"].numpy(), inputs["image"].numpy()
        kept, flipped = (image == x).all((1, 2, 3)), (image == x[:, :, ::-1]).all((1, 2, 3))
        assert np.all(kept ^ flipped)
        for name, samples in drawn.items():
            assert_same(samples, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    alone = [[6, 2], [6, 6, 5, 2], [6]]
    assert traces == [[*alone, *alone, *alone, [6]]]  # Once, with static shapes.


# Serialization


def test_config_round_trips(sampler):
    expected = sampler(batch(), 2, NOBODY)
    config = keras.saving.serialize_keras_object(sampler)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(sampler)
    assert_same(again(batch(), 2, NOBODY), expected)
    short = {"class_name": type(sampler).__name__, "config": sampler.get_config()}
    assert_same(samplers.get(json.loads(json.dumps(short)))(batch(), 2, NOBODY), expected)


@pytest.mark.parametrize(
    "sampler",
    [
        Mixup(0.3, swap=["city", 2], padding=0),
        samplers.CutMix(2.0, data_format="channels_first"),
        Mix(0.5),
        DirichletMixup(4, 0.5),
        GaussianNoise(0.1),
        GaussianNoise({"image": [0.0, 0.5], "id": None}, True, ["id"], 4),
        samplers.Munge(0.3, None, True, {"words": 0}, 8),
        samplers.Swap(0.3, {"words": 0}, 8, "channels_first"),
    ],
    ids=repr,
)
def test_configs_hold_the_arguments_and_repr_shows_them(sampler):
    again = samplers.get({"class_name": type(sampler).__name__, "config": sampler.get_config()})
    assert vars(again) == vars(sampler)
    assert vars(eval(repr(sampler), vars(samplers))) == vars(sampler)


def test_get_finds_names_and_takes_none_for_the_recipe_and_a_sampler_for_itself():
    for name in ("Empirical", "Mix", "Mixup", "CutMix", "DirichletMixup"):
        assert type(samplers.get(name)).__name__ == name
    default = samplers.get(None)
    assert [type(part).__name__ for part in default.samplers] == ["Empirical", "Mix"]
    assert default.probabilities == [0.25, 0.75] and not default.asks_networks
    assert samplers.get(default) is default


@keras.saving.register_keras_serializable("ecl_tf_tests")
class Shout(samplers.Sampler):
    """A user's own sampler."""

    def __init__(self, factor):
        self.factor = factor

    def get_config(self):
        return {"factor": self.factor}


def test_get_and_choice_take_a_users_own_registered_sampler():
    class Theirs(Shout):  # It stays theirs, though it has the name of one of ours.
        pass

    Theirs.__name__ = "Mixup"
    keras.saving.register_keras_serializable("theirs", name="Mixup")(Theirs)
    assert samplers.get(keras.saving.serialize_keras_object(Shout(3))).factor == 3
    choice = Choice([Shout(3), Theirs(4), Mixup()])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(choice))
    assert [type(sampler) for sampler in again.samplers] == [Shout, Theirs, Mixup]
    assert again.samplers[0].factor == 3
    with pytest.raises(NotImplementedError):
        Shout(3)(tf.zeros((2, 1)), seed=0)


@pytest.mark.parametrize(
    "identifier", ["mix-up", "Sampler", 3, {"class_name": "Nope", "config": {}}, {}, [Mixup()]]
)
def test_get_names_the_choices_for_an_unknown_identifier(identifier):
    with pytest.raises(ValueError, match=r"Unknown sampler.*'CutMix'.*'Mixup'"):
        samplers.get(identifier)


# Replicas


@pytest.mark.parametrize(
    ("name", "compiled"),
    [*((name, False) for name in MAKE), pytest.param("Uncertain", True, marks=pytest.mark.slow)],
)
def test_parts_of_a_batch_give_the_samples_of_the_whole(name, compiled):
    sampler, inputs = MAKE[name](), batch(rows=13)

    def draw(inputs, seed):
        return sampler(inputs, seed, NOBODY)

    seed = random.seed_tensor([3, 1])
    whole = draw(inputs, seed)
    sources = whole.follow(tf.range(13))
    parts = [(4, 12), (12, 13)]
    if compiled:  # Each size is compiled by itself.
        draw, parts = tf.function(draw, jit_compile=True), [(4, 8), (8, 12)]
    for first, last in parts:
        part = draw({key: x[first:last] for key, x in inputs.items()}, random.at_row(seed, first))
        for key, x in part.inputs.items():
            np.testing.assert_allclose(x, whole.inputs[key][first:last], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(part.unmodified, whole.unmodified[first:last])
        own = part.follow(tf.range(last - first)) + first
        np.testing.assert_array_equal(own, sources[first:last])


GROUPING = [Mixup, samplers.CutMix, Mix, DirichletMixup, Uncertain, samplers.UncertaintyMixup]
GROUPING += [samplers.Munge, samplers.Swap, samplers.TowardUncertainty]


@pytest.mark.parametrize(
    ("make", "size"),
    [*((make, 1) for make in GROUPING), *((Mixup, size) for size in (0, -4, 2.0, "4", True))],
)
def test_group_sizes_are_whole_numbers_of_at_least_two(make, size):
    with pytest.raises(ValueError, match="'s group_size must be None or a whole number >= 2"):
        make(group_size=size)


@pytest.mark.parametrize(
    ("sampler", "name", "value", "message"),
    [
        (Choice(["Empirical", "Mixup"]), "probabilities", [0.5, 0.6], "summing to 1"),
        (Chain(["Empirical", Mixup()]).samplers[1], "alpha", -1, "alpha must be a positive"),
        (samplers.Munge(), "s", 0, "s must be a positive"),
        (GaussianNoise(0.1), "relative", "no", "relative must be True or False; got 'no'"),
        (Uncertain("Mixup"), "candidates", 0, "candidates must be a whole number >= 2"),
        (samplers.UncertaintyMixup(), "alpha", 0, "alpha must be a positive"),
    ],
)
def test_what_is_set_later_is_refused_as_by_the_constructor(sampler, name, value, message):
    setattr(sampler, name, value)
    with pytest.raises(ValueError, match=message):
        Chain(["Empirical", sampler])(tf.ones([4, 2]), seed=0)


def test_what_is_set_later_is_what_the_constructor_makes_of_it():
    choice = Choice(["Mixup", "Empirical"])
    choice.samplers, choice.probabilities = ["Mixup", "Swap", GaussianNoise(0.1)], (0, 0, 1)
    x = tf.constant(numbers(8, 3))
    drawn = choice(x, seed=0).inputs
    made = Choice(["Mixup", "Swap", GaussianNoise(0.1)], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(drawn, made(x, seed=0).inputs)
    assert choice.keeps_rows is made.keeps_rows is False
    assert choice.get_config() == made.get_config()
    mixed = samplers.UncertaintyMixup()
    mixed.alpha, mixed.mixup.group_size = 0.5, 4
    samplers.sampler.settle(mixed)
    assert mixed.get_config() == samplers.UncertaintyMixup(alpha=0.5, group_size=4).get_config()


def test_truth_values_are_true_or_false():
    for make in (
        lambda: samplers.Munge(conditional="no"),
        lambda: GaussianNoise(0.1, relative=None),
        lambda: samplers.Augment(keras.layers.RandomFlip(), keeps_labels=1),
    ):
        with pytest.raises(ValueError, match=r"must be True or False; got ('no'|None|1)\."):
            make()
