"""Mixup, CutMix and Dirichlet mixing: coefficients and boxes read back from the output."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import fits, numbers

from ecl_tf import samplers
from ecl_tf.samplers import CutMix, DirichletMixup, Mix, Mixup, UncertaintyMixup


def own_and_partner(weights):
    """Of mixed one-hot rows: the weight of the row itself, the others' and who they are."""
    own = np.diag(weights)
    others = weights - np.diag(own)
    return own, others, others.argmax(-1)


# Arguments and inputs


@pytest.mark.parametrize(
    ("make", "alpha"),
    [
        *((make, 0.0) for make in (Mixup, CutMix, Mix, DirichletMixup)),
        *((Mixup, alpha) for alpha in (-1.0, math.nan, math.inf, "one", None)),
    ],
)
def test_alpha_must_be_positive_and_finite(make, alpha):
    with pytest.raises(ValueError, match=f"{make.__name__}'s alpha must be a positive number"):
        make(alpha=alpha)


@pytest.mark.parametrize("k", [1, 2.5, None])
def test_dirichlet_k_must_be_a_whole_number_of_at_least_two(k):
    with pytest.raises(ValueError, match=r"k must be a whole number >= 2"):
        DirichletMixup(k=k)


BYTES = np.zeros((4, 6), np.uint8)


@pytest.mark.parametrize(
    ("sampler", "inputs", "message"),
    [
        (Mixup(), BYTES, r"^Mixup .*is uint8.*tf\.cast\(x, tf\.float32\) / 255"),
        (Mixup(), {"image": np.zeros((4, 3)), "code": np.zeros(4, int)}, "input 'code' is int64"),
        (Mixup(), {"city": np.array(["a", "b"])}, r"'city' is string.*recipe\(swap=\['city'\]\)"),
        (Mix(swap=["town"]), {"city": np.zeros(4)}, r"swap for \['town'\].*are \['city'\]"),
        (Mix(swap=["a"], padding={"b": 0}), {"a": np.zeros(4)}, r"padding for \['b'\]"),
        (DirichletMixup(), BYTES, "^DirichletMixup .*is uint8"),
        (Mix(), BYTES, "^Mixup .*is uint8"),
        (CutMix(), np.zeros((4, 6, 6)), r"\(batch, height, width, channels\).*Mixup"),
        (CutMix(), {"pose": np.zeros((4, 2)), "scalar": np.zeros(4)}, r"\(batch, height, width"),
        (CutMix(), {"image": np.zeros((4, 6, 6, 1)), "code": np.zeros((4, 1), int)}, "is int64"),
    ],
)
def test_inputs_that_can_not_be_mixed_are_refused_with_the_remedy(sampler, inputs, message):
    with pytest.raises(ValueError, match=message):
        sampler(inputs, seed=0)


# Mixup


@pytest.mark.parametrize("rows", [3, 64])
def test_mixup_is_a_convex_combination_of_a_row_and_one_partner(rows):
    partners = set()
    for seed in range(5):
        samples = Mixup()(tf.eye(rows), seed)
        weights = samples.inputs.numpy()
        own, others, partner = own_and_partner(weights)
        assert np.all((own >= 0) & (own <= 1))
        assert np.all(np.count_nonzero(others, axis=-1) == 1)
        np.testing.assert_allclose(weights.sum(-1), np.ones(rows), rtol=1e-6)
        assert np.all(partner != np.arange(rows))
        np.testing.assert_array_equal(np.sort(partner), np.arange(rows))
        assert not np.any(samples.unmodified)
        partners.add(tuple(partner))
    assert rows < 64 or len(partners) > 3  # Not the reversed batch in every seed, say.


def test_mixup_draws_a_beta_coefficient_for_every_row():
    own, _, _ = own_and_partner(Mixup(0.3)(tf.eye(1500), seed=0).inputs.numpy())
    assert fits(own, "beta", 0.3, 0.3)
    assert len(np.unique(own)) > 1400
    assert abs(np.corrcoef(own[:-1], own[1:])[0, 1]) < 4 / math.sqrt(1500)


@pytest.mark.parametrize("sampler", [Mixup(), DirichletMixup(4)], ids=repr)
def test_named_inputs_share_rows_and_coefficients(sampler):
    inputs = {
        "weights": np.eye(16, dtype=np.float32),
        "image": numbers(16, 4, 3, 2),
        "head_pose": numbers(16, 2, seed=1),
        "scalar": numbers(16, seed=2),
    }
    mixed = sampler(inputs, seed=1).inputs
    weights = mixed["weights"].numpy().astype(np.float64)
    for name, x in inputs.items():
        np.testing.assert_allclose(mixed[name], np.tensordot(weights, x, 1), atol=1e-5)


@pytest.mark.parametrize("sampler", [Mixup(), DirichletMixup()], ids=repr)
def test_mixing_a_row_with_itself_changes_nothing(sampler):
    samples = sampler(numbers(1, 7), seed=0)
    np.testing.assert_allclose(samples.inputs, numbers(1, 7), rtol=1e-6)
    assert samples.unmodified.numpy().tolist() == [True]


# CutMix


def row_images(rows, height, width):
    """Images that are everywhere their row's number."""
    shape = (rows, height, width, 1)
    return np.broadcast_to(np.arange(rows)[:, None, None, None], shape).astype(np.float32)


def boxes(images):
    """Which pixels of `row_images` came from the partner, (rows, height, width)."""
    return np.asarray(images)[..., 0] != np.arange(len(images))[:, None, None]


def partners_of(images):
    """The number that was cut into each of `row_images`, its own where nothing was."""
    images = np.asarray(images)
    own = np.arange(len(images))[:, None]
    of_pixels = images.reshape(len(images), -1)
    return np.take_along_axis(of_pixels, (of_pixels != own).argmax(-1)[:, None], 1)[:, 0]


def edges(inside):
    """First and one past the last true index along the last axis."""
    return inside.argmax(-1), inside.shape[-1] - inside[..., ::-1].argmax(-1)


def test_cutmix_fills_one_rectangle_from_the_same_place_of_one_partner():
    inputs = {"marker": row_images(40, 12, 17), "image": numbers(40, 12, 17, 2)}
    mixed = CutMix()(inputs, 0).inputs
    box, partner = boxes(mixed["marker"]), partners_of(mixed["marker"]).astype(int)
    source = np.where(box, partner[:, None, None], np.arange(40)[:, None, None])
    np.testing.assert_array_equal(mixed["marker"][..., 0], source)
    rows, columns = np.indices((12, 17))
    np.testing.assert_array_equal(mixed["image"], inputs["image"][source, rows, columns])
    rectangle = box.any(2)[:, :, None] & box.any(1)[:, None, :]
    np.testing.assert_array_equal(box, rectangle)
    cut = box.any((1, 2))
    assert cut.sum() > 30
    top, bottom = edges(box.any(2)[cut])
    left, right = edges(box.any(1)[cut])
    np.testing.assert_array_equal((bottom - top) * (right - left), box[cut].sum((1, 2)))
    assert len(set(partner[cut])) == cut.sum()


def simulated_kept_shares(alpha, count):
    """Yun et al. 2019, section 3.1, in NumPy: a square's sides, clipped at the border."""
    rng = np.random.default_rng(1)
    side = np.sqrt(1 - rng.beta(alpha, alpha, count))
    centre = rng.random((2, count))
    sides = np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0)
    return 1 - sides.prod(0)


def test_cutmix_kept_shares_follow_the_clipped_formula_and_boxes_are_everywhere_alike():
    alpha = 0.5
    box = boxes(CutMix(alpha)(row_images(2000, 32, 32), 0).inputs)
    kept = 1 - box.mean((1, 2))
    expected = simulated_kept_shares(alpha, 200_000)
    standard_error = expected.std() / math.sqrt(len(kept))
    assert abs(kept.mean() - expected.mean()) < 4 * standard_error
    # Pixels round the shares; apart from that the whole distributions agree.
    assert scipy.stats.ks_2samp(kept, expected).statistic < 0.06
    # Centres are uniform, so the map is symmetric under flips and transposition.
    share = box.mean(0)
    for other in (share[::-1], share[:, ::-1], share.T):
        np.testing.assert_allclose(share, other, atol=0.08)
    assert share[16, 16] > share[0, 0]


@pytest.mark.parametrize("make", [CutMix, Mix])
def test_what_goes_with_an_image_is_mixed_by_the_kept_share_with_the_same_partner(make):
    inputs = {"head_pose": np.eye(30, dtype=np.float32), "image": row_images(30, 10, 10)}
    mixed = make(0.5)(inputs, seed=2).inputs
    kept = 1 - boxes(mixed["image"]).mean((1, 2))
    own, others, partner = own_and_partner(mixed["head_pose"].numpy())
    np.testing.assert_allclose(own, kept, atol=1e-6)
    np.testing.assert_allclose(others.sum(-1), 1 - kept, atol=1e-6)
    cut = kept < 1
    assert cut.sum() > 15
    np.testing.assert_array_equal(partner[cut], partners_of(mixed["image"])[cut])


def test_cutmix_cuts_images_of_all_sizes_at_the_same_relative_place():
    inputs = {"small": row_images(60, 12, 20), "large": row_images(60, 48, 30)}
    mixed = CutMix()(inputs, seed=0).inputs
    small, large = boxes(mixed["small"]), boxes(mixed["large"])
    cut = small.any((1, 2)) & large.any((1, 2))
    assert cut.sum() > 40
    for axis in (1, 2):  # Of the box's sides: any(2) is over columns, any(1) over rows.
        a, b = small[cut].any(3 - axis), large[cut].any(3 - axis)
        tolerance = 0.5 / a.shape[-1] + 0.5 / b.shape[-1] + 1e-6
        for edge_a, edge_b in zip(edges(a), edges(b), strict=True):
            difference = np.abs(edge_a / a.shape[-1] - edge_b / b.shape[-1])
            assert difference.max() <= tolerance
    partners = [partners_of(mixed[name])[cut] for name in ("small", "large")]
    np.testing.assert_array_equal(*partners)


@pytest.mark.parametrize(("small", "large"), [("a", "b"), ("b", "a")])
def test_cutmix_marks_exactly_the_rows_of_which_no_image_was_cut(small, large):
    inputs = {small: row_images(200, 3, 3), large: row_images(200, 64, 64)}
    samples = CutMix(alpha=0.05)(inputs, seed=0)
    cut = [boxes(samples.inputs[name]).any((1, 2)) for name in (small, large)]
    assert np.any(cut[0] != cut[1])
    assert 20 < (cut[0] | cut[1]).sum() < 180
    np.testing.assert_array_equal(samples.unmodified, ~(cut[0] | cut[1]))


@pytest.mark.parametrize("sampler", [CutMix(), Mix()], ids=repr)
def test_bytes_may_be_cut(sampler):
    mixed = sampler(row_images(20, 6, 6).astype(np.uint8), seed=0).inputs
    assert mixed.dtype == tf.uint8
    assert boxes(mixed).any()


def test_cutmix_follows_where_images_have_their_channels(subtests):
    last = {"marker": row_images(40, 12, 17), "image": numbers(40, 12, 17, 2)}
    first = {name: np.moveaxis(x, -1, 1) for name, x in last.items()}
    for make in (CutMix, Mix):
        expected = make()(last, 0)
        with subtests.test("as an argument", make=make):
            mixed = make(data_format="channels_first")(first, 0)
            np.testing.assert_array_equal(mixed.unmodified, expected.unmodified)
            for name, x in mixed.inputs.items():
                np.testing.assert_array_equal(np.moveaxis(x, 1, -1), expected.inputs[name])
        with subtests.test("by Keras's setting, and kept in the config", make=make):
            keras.config.set_image_data_format("channels_first")
            try:
                config = make().get_config()
                assert samplers.get(make.__name__).data_format == "channels_first"
                last_again = samplers.swapping(make(data_format="channels_last"), [])
                uncertain = UncertaintyMixup(alpha=0.5, group_size=4)
                again = UncertaintyMixup.from_config(uncertain.get_config())
            finally:
                keras.config.set_image_data_format("channels_last")
            assert make(**config).data_format == "channels_first"
            assert make().data_format == "channels_last"
            assert last_again.data_format == "channels_last"
            assert (again.alpha, again.group_size) == (0.5, 4)
        with (
            subtests.test("others are refused", make=make),
            pytest.raises(ValueError, match="NCHW"),
        ):
            make(data_format="NCHW")


# Values that are swapped, among others that are mixed


@pytest.mark.parametrize("with_image", [False, True], ids=["Mixup", "CutMix"])
def test_mix_swaps_named_inputs_of_the_same_partner_with_the_share_of_the_rest(with_image):
    rows = 400
    inputs = {"weights": np.eye(rows, dtype=np.float32)}
    # A cell's value tells its row and its place.
    inputs["ids"] = np.arange(rows * 50).reshape(rows, 50)
    inputs["city"] = np.array([f"city {row}" for row in range(rows)])
    if with_image:
        inputs["image"] = row_images(rows, 16, 16)
    mixed = Mix(swap=["ids", "city"])(inputs, seed=0).inputs
    kept, _, partner = own_and_partner(mixed["weights"].numpy())
    row, place = np.divmod(mixed["ids"].numpy(), 50)
    np.testing.assert_array_equal(place, np.broadcast_to(np.arange(50), (rows, 50)))
    from_partner = row == partner[:, None]
    assert np.all(from_partner | (row == np.arange(rows)[:, None]))
    some = kept < 1  # Of other rows the partner is not known.
    assert some.sum() > rows / 2
    # 50 draws each with the probability 1 - kept: the sum over all rows is nearly normal.
    expected, variance = 50 * (1 - kept[some]).sum(), 50 * (kept * (1 - kept))[some].sum()
    assert abs(from_partner[some].sum() - expected) < 4 * math.sqrt(variance)
    names = inputs["city"].astype(bytes)
    is_theirs = mixed["city"].numpy() == names[partner]
    assert np.all(is_theirs | (mixed["city"].numpy() == names))
    expected, variance = (1 - kept[some]).sum(), (kept * (1 - kept))[some].sum()
    assert abs(is_theirs[some].sum() - expected) < 4 * math.sqrt(variance)


# Mixup where there is no image


@pytest.mark.parametrize("shape", [(), (5, 3)], ids=["scalars", "sequences"])
def test_mix_mixes_what_is_no_image(shape):
    # A row's number in one input is known in the other from its weights.
    x = np.arange(1500, dtype=np.float32).reshape(-1, *[1] * len(shape)) + np.zeros(shape)
    inputs = {"x": x.astype(np.float32), "weights": np.eye(1500, dtype=np.float32)}
    mixed = Mix(0.5)(inputs, seed=3).inputs
    own, _, partner = own_and_partner(mixed["weights"].numpy())
    coefficient = own.reshape(-1, *[1] * len(shape))
    expected = coefficient * x + (1 - coefficient) * x[partner]
    np.testing.assert_allclose(mixed["x"], expected, rtol=1e-4, atol=1e-2)
    assert fits(own, "beta", 0.5, 0.5)


# Dirichlet


@pytest.mark.parametrize(("k", "alpha"), [(3, 0.5), (5, 1.0)])
def test_dirichlet_mixes_k_rows_convexly_with_dirichlet_coefficients(k, alpha):
    rows, own = 1500, np.arange(1500)
    samples = DirichletMixup(k, alpha)(tf.eye(rows), seed=1)
    weights = samples.inputs.numpy()
    assert np.all(weights >= 0) and not np.any(samples.unmodified)
    np.testing.assert_allclose(weights.sum(-1), np.ones(rows), rtol=1e-5)
    by_distance = np.stack([weights[own, (own + d) % rows] for d in range(rows)])
    coefficients = [by_distance[d] for d in range(rows) if by_distance[d].any()]
    assert len(coefficients) == k
    for each in coefficients:
        assert fits(each, "beta", alpha, (k - 1) * alpha)
    if k == 3:  # What the first row left is shared by the others in independent proportions.
        own, second, third = coefficients
        left = own < 0.999
        share = second[left] / (second + third)[left]
        assert fits(share, "beta", alpha, alpha)
        assert abs(scipy.stats.spearmanr(share, own[left]).statistic) < 4 / math.sqrt(left.sum())
