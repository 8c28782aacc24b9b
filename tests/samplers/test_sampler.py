"""What all samplers promise: purity, structure, compilation, serialization."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import samplers, uncertainty
from ecl_tf.samplers import (
    Augment,
    Choice,
    CutMix,
    DirichletMixup,
    Empirical,
    GaussianNoise,
    Mix,
    Mixup,
    Sampler,
    Uncertain,
    UncertaintyMixup,
    random,
    row_count,
)


def flip():
    return Augment(keras.layers.RandomFlip("horizontal"), key="image")


MAKE = {
    "Empirical": Empirical,
    "Mixup": Mixup,
    "CutMix": CutMix,
    "Mix": Mix,
    "DirichletMixup": DirichletMixup,
    "GaussianNoise": lambda: GaussianNoise({"image": 0.1, "head_pose": 0.2}),
    "Augment": flip,
    "Choice": lambda: Choice(["Empirical", "Mixup", "CutMix"], [0.3, 0.3, 0.4]),
}


@pytest.fixture(params=MAKE)
def sampler(request):
    return MAKE[request.param]()


def batch(rows=6, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(0, 1, (rows, 6, 5, 2)).astype(dtype),
        "head_pose": rng.normal(0, 1, (rows, 2)).astype(dtype),
    }


def flat(samples):
    return [np.asarray(leaf) for leaf in keras.tree.flatten(samples)]


def assert_same(a, b):
    for x, y in zip(flat(a), flat(b), strict=True):
        np.testing.assert_array_equal(x, y)


def differ(a, b):
    return any(np.any(x != y) for x, y in zip(flat(a), flat(b), strict=True))


def assert_has_form_of(samples, inputs):
    assert set(samples.inputs) == set(inputs)
    for name, x in inputs.items():
        assert samples.inputs[name].shape == x.shape
        assert samples.inputs[name].dtype == x.dtype
        assert np.all(np.isfinite(samples.inputs[name]))
    rows = len(inputs["image"])
    assert samples.unmodified.shape == (rows,)
    assert samples.unmodified.dtype == tf.bool


# Purity


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(sampler):
    first, again = sampler(batch(), seed=3), sampler(batch(), seed=tf.constant([3, 0]))
    assert_same(first, again)
    if not isinstance(sampler, Empirical):
        assert differ(first.inputs, batch())
        assert differ(first, sampler(batch(), seed=4))
        assert differ(first, sampler(batch(), seed=tf.constant([3, 1])))


def test_the_inputs_themselves_are_left_alone(sampler):
    inputs = {name: tf.Variable(x) for name, x in batch().items()}
    sampler(inputs, seed=0)
    assert_same(inputs, batch())


def test_the_global_seed_plays_no_part(sampler):
    keras.utils.set_random_seed(1)
    first = sampler(batch(), seed=3)
    keras.utils.set_random_seed(2)
    assert_same(first, sampler(batch(), seed=3))


def test_rows_that_are_marked_unmodified_are_as_they_were_given(sampler):
    inputs = batch(rows=64)
    samples = sampler(inputs, seed=0)
    unmodified = samples.unmodified.numpy()
    for name, x in inputs.items():
        np.testing.assert_array_equal(samples.inputs[name].numpy()[unmodified], x[unmodified])
    if sampler.keeps_rows:
        assert np.any(unmodified)


# Structure


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_structure_shapes_and_dtypes_are_kept(sampler, dtype):
    inputs = batch(dtype=dtype)
    assert_has_form_of(sampler(inputs, seed=0), inputs)


def test_a_batch_of_one_row(sampler):
    inputs = batch(rows=1)
    assert_has_form_of(sampler(inputs, seed=0), inputs)


@pytest.mark.parametrize("make", [Empirical, Mixup, DirichletMixup, lambda: GaussianNoise(0.1)])
def test_one_tensor_of_any_rank_and_tuples_of_them(make):
    for shape in ((6,), (6, 3), (6, 2, 3, 4, 5)):
        x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        assert make()(x, seed=0).inputs.shape == shape
        pair = make()((x, tf.zeros((6, 1))), seed=0).inputs
        assert isinstance(pair, tuple)
        assert pair[0].shape == shape and pair[1].shape == (6, 1)


def test_nested_lists_of_numbers_are_one_tensor():
    """As in Empirical's docstring."""
    samples = Empirical()([[1.0], [2.0]], seed=0)
    assert samples.unmodified.numpy().tolist() == [True, True]
    assert samples.inputs.shape == (2, 1)


def test_float16_coefficients_are_close_to_float32_ones():
    half, single = (Mixup()(batch(dtype=d), seed=0).inputs for d in (np.float16, np.float32))
    np.testing.assert_allclose(half["image"], single["image"], atol=0.02)


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3, 4], None])
def test_bad_seeds_are_refused(sampler, seed):
    with pytest.raises(ValueError):
        sampler(batch(), seed)


def test_row_count_is_static_where_it_can_be():
    assert row_count(batch(rows=7)) == 7
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def count(x):
        seen.append(row_count(x))
        return seen[-1]

    assert int(count(tf.zeros((5, 2)))) == 5
    assert tf.is_tensor(seen[0])


# Graphs


def test_a_graph_with_any_batch_size_gives_the_eager_sample(sampler):
    signature = [
        {
            "image": tf.TensorSpec([None, 6, 5, 2], tf.float32),
            "head_pose": tf.TensorSpec([None, 2], tf.float32),
        },
        tf.TensorSpec([2], tf.int32),
    ]
    graph = tf.function(sampler.__call__, input_signature=signature)
    for rows in (1, 6):
        inputs = {name: tf.constant(x) for name, x in batch(rows).items()}
        eager = sampler(inputs, seed=5)
        compiled = graph(inputs, tf.constant([5, 0]))
        for a, b in zip(flat(eager), flat(compiled), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_xla_compiles_it_with_the_seed_as_an_argument_and_static_shapes(sampler):
    traces = []

    @tf.function(jit_compile=True)
    def compiled(inputs, seed):
        samples = sampler(inputs, seed)
        traces.append([leaf.shape.as_list() for leaf in keras.tree.flatten(samples)])
        return samples

    inputs = {name: tf.constant(x) for name, x in batch().items()}
    for number in (5, 6):
        result, again = (compiled(inputs, tf.constant([number, 0])) for _ in range(2))
        assert_same(result, again)
        if isinstance(sampler, Augment):
            # Keras layers draw other numbers under XLA than without; flips they stay.
            image, x = result.inputs["image"].numpy(), inputs["image"].numpy()
            kept, flipped = (image == x).all((1, 2, 3)), (image == x[:, :, ::-1]).all((1, 2, 3))
            assert np.all(kept ^ flipped)
            continue
        for a, b in zip(flat(result), flat(sampler(inputs, number)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert traces == [[[6, 2], [6, 6, 5, 2], [6]]]  # one trace; sorted names, then unmodified


# Serialization


def test_config_round_trips(sampler):
    expected = sampler(batch(), seed=2)
    config = keras.saving.serialize_keras_object(sampler)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(sampler)
    assert_same(again(batch(), seed=2), expected)
    short = {"class_name": type(sampler).__name__, "config": sampler.get_config()}
    assert_same(samplers.get(short)(batch(), seed=2), expected)
    assert_same(samplers.get(config)(batch(), seed=2), expected)


@pytest.mark.parametrize(
    "sampler",
    [Mixup(0.3), CutMix(2.0), Mix(0.5), DirichletMixup(4, 0.5), GaussianNoise(0.1)],
    ids=repr,
)
def test_configs_hold_the_arguments_and_repr_shows_them(sampler):
    again = samplers.get({"class_name": type(sampler).__name__, "config": sampler.get_config()})
    assert vars(again) == vars(sampler)
    assert vars(eval(repr(sampler))) == vars(sampler)


@pytest.mark.parametrize("name", ["Empirical", "Mix", "Mixup", "CutMix", "DirichletMixup"])
def test_get_finds_names(name):
    assert type(samplers.get(name)).__name__ == name


def test_get_of_none_is_the_recipe_and_of_a_sampler_itself():
    default = samplers.get(None)
    config = {"candidates": 2, "score": "student_uncertainty", "temperature": 1.0}
    assert default.get_config() == samplers.Uncertain(**config).get_config()
    assert samplers.get(default) is default


@keras.saving.register_keras_serializable("ecl_tf_tests")
class Shout(Sampler):
    """A user's own sampler."""

    def __init__(self, factor):
        self.factor = factor

    def get_config(self):
        return {"factor": self.factor}


def test_get_and_choice_take_a_users_own_registered_sampler():
    config = keras.saving.serialize_keras_object(Shout(3))
    assert samplers.get(config).factor == 3
    choice = Choice([Shout(3), "Empirical"])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(choice))
    assert again.samplers[0].factor == 3
    with pytest.raises(NotImplementedError):
        Shout(3)(tf.zeros((2, 1)), seed=0)


def test_a_users_sampler_of_the_name_of_ours_stays_theirs():
    class Theirs(Shout):
        pass

    Theirs.__name__ = "Mixup"
    keras.saving.register_keras_serializable("theirs", name="Mixup")(Theirs)
    choice = Choice([Theirs(3), Mixup()])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(choice))
    assert [type(sampler) for sampler in again.samplers] == [Theirs, Mixup]


@pytest.mark.parametrize(
    "identifier", ["mix-up", "Sampler", 3, {"class_name": "Nope", "config": {}}, {}, [Mixup()]]
)
def test_get_names_the_choices_for_an_unknown_identifier(identifier):
    with pytest.raises(ValueError, match=r"Unknown sampler.*'CutMix'.*'Mixup'"):
        samplers.get(identifier)


ANY_REPLICAS = {
    "Empirical": Empirical,
    "GaussianNoise": MAKE["GaussianNoise"],
    "Augment": flip,
    "Generated": lambda: samplers.Generated(generator()),
    "Mixup": lambda: Mixup(group_size=4),
    "CutMix": lambda: CutMix(group_size=4),
    "Mix": lambda: Mix(group_size=4),
    "DirichletMixup": lambda: DirichletMixup(3, group_size=4),
    "Choice": lambda: Choice(["Empirical", flip(), Mixup(group_size=4)]),
    "Uncertain": lambda: Uncertain(Mix(group_size=4), 3, pixel, group_size=4),
    "Uncertain, drawn": lambda: Uncertain("Empirical", 2, pixel, 1.0, group_size=4),
    "UncertaintyMixup": lambda: UncertaintyMixup(0.5, pixel, group_size=4),
}


def pixel(answers):
    """A score that asks no network."""
    return tf.abs(answers.inputs["image"][:, 0, 0, 0])


def generator():
    z = keras.Input((2,))
    image = keras.layers.Reshape((6, 5, 2))(keras.layers.Dense(60)(z))
    return keras.Model(z, {"image": image, "head_pose": keras.layers.Dense(2)(z)})


@pytest.mark.parametrize(
    ("name", "compiled"),
    [*((name, False) for name in ANY_REPLICAS), ("GaussianNoise", True), ("Uncertain", True)],
)
def test_parts_of_a_batch_give_the_samples_of_the_whole(name, compiled):
    sampler, inputs = ANY_REPLICAS[name](), batch(rows=13)

    def draw(inputs, seed):
        return sampler(inputs, seed, networks=uncertainty.Networks(None, None, None))

    seed = random.seed_tensor([3, 1])
    whole = draw(inputs, seed)
    sources = whole.follow(tf.range(13))
    parts = [(0, 4), (4, 12), (8, 13), (12, 13)]
    if compiled:  # Each size is compiled by itself.
        draw, parts = tf.function(draw, jit_compile=True), [(4, 8), (8, 12)]
    for first, last in parts:
        part = draw({key: x[first:last] for key, x in inputs.items()}, random.at_row(seed, first))
        for key, x in part.inputs.items():
            np.testing.assert_allclose(x, whole.inputs[key][first:last], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(part.unmodified, whole.unmodified[first:last])
        own = part.follow(tf.range(last - first)) + first
        np.testing.assert_array_equal(own, sources[first:last])


def test_mixing_without_groups_stays_within_the_replicas_own_rows():
    inputs = np.eye(8, dtype="float32")
    halves = [
        Mixup()(inputs[rows], random.at_row(1, first)).inputs.numpy()
        for first, rows in ((0, slice(0, 4)), (4, slice(4, 8)))
    ]
    assert not halves[0][:, 4:].any() and not halves[1][:, :4].any()


@pytest.mark.parametrize("size", [0, 1, -4, 2.0, "4", True])
@pytest.mark.parametrize("make", [Mixup, CutMix, Mix, DirichletMixup, Uncertain, UncertaintyMixup])
def test_group_sizes_are_whole_numbers_of_at_least_two(make, size):
    with pytest.raises(ValueError, match="'s group_size must be None or a whole number >= 2"):
        make(group_size=size)
