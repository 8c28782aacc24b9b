"""Mixup, CutMix and Dirichlet mixing: coefficients and boxes read back from the output."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ecl_tf.samplers import CutMix, DirichletMixup, Mix, Mixup


def fits(values, distribution, *parameters):
    return scipy.stats.kstest(np.ravel(values), distribution, parameters).pvalue > 1e-3


def own_and_partner(weights):
    """Of mixed one-hot rows: the weight of the row itself, the others' and who they are."""
    own = np.diag(weights)
    others = weights - np.diag(own)
    return own, others, others.argmax(-1)


# Mixup


@pytest.mark.parametrize("rows", [2, 3, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_mixup_is_a_convex_combination_of_a_row_and_one_partner(rows, seed):
    weights = Mixup()(tf.eye(rows), seed).inputs.numpy()
    own, others, partner = own_and_partner(weights)
    assert np.all((own >= 0) & (own <= 1))
    assert np.all(np.count_nonzero(others, axis=-1) == 1)
    np.testing.assert_allclose(weights.sum(-1), np.ones(rows), rtol=1e-6)
    assert np.all(partner != np.arange(rows))
    np.testing.assert_array_equal(np.sort(partner), np.arange(rows))


def test_mixup_is_never_the_reversed_batch_in_every_seed():
    partners = [own_and_partner(Mixup()(tf.eye(8), seed).inputs.numpy())[2] for seed in range(20)]
    assert len({tuple(partner) for partner in partners}) > 3


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0])
def test_mixup_coefficients_are_beta(alpha):
    own, _, _ = own_and_partner(Mixup(alpha)(tf.eye(2000), seed=0).inputs.numpy())
    assert fits(own, "beta", alpha, alpha)


def test_mixup_draws_a_coefficient_for_every_row():
    own, _, _ = own_and_partner(Mixup()(tf.eye(200), seed=0).inputs.numpy())
    assert len(np.unique(own)) > 190
    assert abs(np.corrcoef(own[:-1], own[1:])[0, 1]) < 4 / math.sqrt(199)


def test_mixup_shares_partner_and_coefficient_between_named_inputs():
    rng = np.random.default_rng(0)
    inputs = {
        "weights": np.eye(16, dtype=np.float32),
        "image": rng.normal(0, 1, (16, 4, 3, 2)).astype(np.float32),
        "head_pose": rng.normal(0, 1, (16, 2)).astype(np.float32),
        "scalar": rng.normal(0, 1, 16).astype(np.float32),
    }
    mixed = Mixup()(inputs, seed=1).inputs
    weights = mixed["weights"].numpy().astype(np.float64)
    for name, x in inputs.items():
        np.testing.assert_allclose(mixed[name], np.tensordot(weights, x, 1), atol=1e-5)


def test_mixup_marks_no_row_unmodified_in_a_batch_of_two_or_more():
    assert not np.any(Mixup()(tf.eye(5), seed=0).unmodified)


@pytest.mark.parametrize("sampler", [Mixup(), DirichletMixup()], ids=repr)
def test_mixing_a_row_with_itself_changes_nothing(sampler):
    x = np.random.default_rng(0).normal(0, 1, (1, 7)).astype(np.float32)
    samples = sampler(x, seed=0)
    np.testing.assert_allclose(samples.inputs, x, rtol=1e-6)
    assert samples.unmodified.numpy().tolist() == [True]


@pytest.mark.parametrize("make", [Mixup, CutMix, Mix, DirichletMixup])
@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf, "one", None])
def test_alpha_must_be_positive_and_finite(make, alpha):
    with pytest.raises(ValueError, match=f"{make.__name__}'s alpha must be a positive number"):
        make(alpha=alpha)


@pytest.mark.parametrize("sampler", [Mixup(), DirichletMixup()], ids=repr)
def test_mixing_bytes_is_refused_with_the_remedy(sampler):
    with pytest.raises(ValueError, match=r"is uint8.*tf\.cast\(x, tf\.float32\) / 255"):
        sampler(tf.zeros((4, 3), tf.uint8), seed=0)
    inputs = {"image": tf.zeros((4, 3)), "code": tf.zeros((4, 1), tf.int64)}
    with pytest.raises(ValueError, match=r"input 'code' is int64"):
        sampler(inputs, seed=0)


# CutMix


def row_images(rows, height, width, channels=1):
    """Images that are everywhere their row's number."""
    shape = (rows, height, width, channels)
    return np.broadcast_to(np.arange(rows)[:, None, None, None], shape).astype(np.float32)


def boxes(images):
    """Which pixels of `row_images` came from the partner, (rows, height, width)."""
    return images[..., 0] != np.arange(len(images))[:, None, None]


def edges(inside):
    """First and one past the last true index along the last axis."""
    return inside.argmax(-1), inside.shape[-1] - inside[..., ::-1].argmax(-1)


@pytest.mark.parametrize("seed", range(3))
def test_cutmix_fills_one_rectangle_from_one_partner(seed):
    mixed = CutMix()(row_images(40, 12, 17, 3), seed).inputs.numpy()
    assert np.all(mixed == mixed[..., :1])  # all channels alike
    box = boxes(mixed)
    rectangle = box.any(2)[:, :, None] & box.any(1)[:, None, :]
    np.testing.assert_array_equal(box, rectangle)
    cut = box.any((1, 2))
    assert cut.sum() > 30
    top, bottom = edges(box.any(2)[cut])
    left, right = edges(box.any(1)[cut])
    np.testing.assert_array_equal((bottom - top) * (right - left), box[cut].sum((1, 2)))
    from_partner = [np.unique(image[image != row]) for row, image in enumerate(mixed)]
    assert max(map(len, from_partner)) == 1
    partners = [int(values[0]) for values in from_partner if len(values)]
    assert len(set(partners)) == len(partners)


def test_cutmix_keeps_pixels_in_their_place():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (8, 6, 6, 2)).astype(np.float32)
    inputs = {"marker": row_images(8, 6, 6), "image": x}
    mixed = CutMix()(inputs, seed=0).inputs
    source = mixed["marker"].numpy()[..., 0].astype(int)
    rows, columns = np.indices((6, 6))
    np.testing.assert_array_equal(mixed["image"], x[source, rows, columns])


def simulated_kept_shares(alpha, count):
    """Yun et al. 2019, section 3.1, in NumPy: a square's sides, clipped at the border."""
    rng = np.random.default_rng(1)
    side = np.sqrt(1 - rng.beta(alpha, alpha, count))
    centre = rng.random((2, count))
    sides = np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0)
    return 1 - sides.prod(0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_cutmix_kept_shares_follow_the_clipped_formula(alpha):
    images = row_images(1000, 32, 32)
    kept = np.concatenate(
        [1 - boxes(CutMix(alpha)(images, seed).inputs.numpy()).mean((1, 2)) for seed in (0, 1)]
    )
    expected = simulated_kept_shares(alpha, 200_000)
    standard_error = expected.std() / math.sqrt(len(kept))
    assert abs(kept.mean() - expected.mean()) < 4 * standard_error
    # Pixels round the shares; apart from that the whole distributions agree.
    assert scipy.stats.ks_2samp(kept, expected).statistic < 0.06


def test_cutmix_boxes_are_everywhere_alike():
    box = boxes(CutMix()(row_images(2000, 8, 8), seed=0).inputs.numpy()).mean(0)
    # Centres are uniform, so the map is symmetric under flips and transposition.
    for other in (box[::-1], box[:, ::-1], box.T):
        np.testing.assert_allclose(box, other, atol=0.08)
    assert box[4, 4] > box[0, 0]


def test_cutmix_mixes_a_head_pose_by_the_kept_share_with_the_same_partner():
    inputs = {"image": row_images(30, 10, 10), "head_pose": np.eye(30, dtype=np.float32)}
    mixed = CutMix()(inputs, seed=2).inputs
    images = mixed["image"].numpy()
    kept = 1 - boxes(images).mean((1, 2))
    own, others, partner = own_and_partner(mixed["head_pose"].numpy())
    np.testing.assert_allclose(own, kept, atol=1e-6)
    np.testing.assert_allclose(others.sum(-1), 1 - kept, atol=1e-6)
    cut = kept < 1
    assert cut.sum() > 20
    from_partner = [
        image.max() if image.max() != row else image.min() for row, image in enumerate(images)
    ]
    np.testing.assert_array_equal(partner[cut], np.array(from_partner)[cut])


def test_cutmix_cuts_images_of_all_sizes_at_the_same_relative_place():
    inputs = {"small": row_images(60, 12, 20), "large": row_images(60, 48, 30)}
    mixed = CutMix()(inputs, seed=0).inputs
    small, large = boxes(mixed["small"].numpy()), boxes(mixed["large"].numpy())
    cut = small.any((1, 2)) & large.any((1, 2))
    assert cut.sum() > 40
    for axis in (1, 2):  # of the box's sides: any(2) is over columns, any(1) over rows
        a, b = small[cut].any(3 - axis), large[cut].any(3 - axis)
        tolerance = 0.5 / a.shape[-1] + 0.5 / b.shape[-1] + 1e-6
        for edge_a, edge_b in zip(edges(a), edges(b), strict=True):
            difference = np.abs(edge_a / a.shape[-1] - edge_b / b.shape[-1])
            assert difference.max() <= tolerance
    # And with the same partner.
    sources = [
        [np.setdiff1d(image, [row])[0] for row, image in enumerate(mixed[name].numpy()) if cut[row]]
        for name in ("small", "large")
    ]
    np.testing.assert_array_equal(*sources)


def test_cutmix_marks_exactly_the_rows_with_an_empty_box():
    samples = CutMix(alpha=0.05)(row_images(200, 8, 8), seed=0)
    empty = ~boxes(samples.inputs.numpy()).any((1, 2))
    assert 20 < empty.sum() < 180
    np.testing.assert_array_equal(samples.unmodified, empty)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_cutmix_marks_no_row_of_which_any_image_was_cut(names):
    small, large = names
    inputs = {small: row_images(200, 3, 3), large: row_images(200, 64, 64)}
    samples = CutMix(alpha=0.3)(inputs, seed=0)
    cut = [boxes(samples.inputs[name].numpy()).any((1, 2)) for name in names]
    assert np.any(cut[0] != cut[1])
    np.testing.assert_array_equal(samples.unmodified, ~(cut[0] | cut[1]))


def test_cutmix_cuts_bytes_but_does_not_mix_them():
    images = row_images(20, 6, 6).astype(np.uint8)
    mixed = CutMix()(images, seed=0).inputs
    assert mixed.dtype == tf.uint8
    assert boxes(mixed.numpy()).any()
    with pytest.raises(ValueError, match="is int64"):
        CutMix()({"image": images, "code": np.zeros((20, 1), np.int64)}, seed=0)


@pytest.mark.parametrize(
    "inputs", [np.zeros((4, 6, 6)), {"pose": np.zeros((4, 2)), "scalar": np.zeros(4)}]
)
def test_cutmix_needs_an_image(inputs):
    with pytest.raises(ValueError, match=r"\(batch, height, width, channels\).*Mixup"):
        CutMix()(inputs, seed=0)


# CutMix where there are images, mixup elsewhere


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_mix_cuts_images_and_mixes_what_goes_with_them_by_the_kept_share(alpha):
    inputs = {"head_pose": np.eye(1500, dtype=np.float32), "image": row_images(1500, 16, 16)}
    mixed = Mix(alpha)(inputs, seed=2).inputs
    kept = 1 - boxes(mixed["image"].numpy()).mean((1, 2))
    np.testing.assert_allclose(np.diag(mixed["head_pose"]), kept, atol=1e-6)
    expected = np.mean(simulated_kept_shares(alpha, 20_000))
    assert kept.mean() == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (7,), (5, 3)], ids=["scalars", "rows", "sequences"])
def test_mix_mixes_what_is_no_image(shape, alpha):
    # A row's number in one input is known in the other from its weights.
    x = np.arange(1500, dtype=np.float32).reshape(-1, *[1] * len(shape)) + np.zeros(shape)
    inputs = {"x": x.astype(np.float32), "weights": np.eye(1500, dtype=np.float32)}
    mixed = Mix(alpha)(inputs, seed=3).inputs
    own, _, partner = own_and_partner(mixed["weights"].numpy())
    coefficient = own.reshape(-1, *[1] * len(shape))
    expected = coefficient * x + (1 - coefficient) * x[partner]
    np.testing.assert_allclose(mixed["x"], expected, rtol=1e-4, atol=1e-2)
    assert fits(own, "beta", alpha, alpha)


def test_mix_refuses_what_only_its_choice_refuses():
    Mix()(row_images(4, 6, 6).astype(np.uint8), seed=0)
    with pytest.raises(ValueError, match=r"Mixup.*uint8"):
        Mix()(np.zeros((4, 6), np.uint8), seed=0)


# Dirichlet


def dirichlet_weights(k, alpha, seed, rows=1500):
    """Own coefficients, and those of the k - 1 partners by their distance."""
    weights = DirichletMixup(k, alpha)(tf.eye(rows), seed).inputs.numpy()
    own = np.arange(rows)
    by_distance = np.stack([weights[own, (own + d) % rows] for d in range(rows)])
    distances = [d for d in range(1, rows) if by_distance[d].any()]
    return weights, by_distance[0], by_distance[distances]


@pytest.mark.parametrize(("k", "alpha"), [(2, 1.0), (3, 1.0), (3, 0.5), (5, 1.0)])
def test_dirichlet_mixes_k_rows_convexly_with_dirichlet_marginals(k, alpha):
    weights, own, others = dirichlet_weights(k, alpha, seed=0)
    assert len(others) == k - 1
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(-1), np.ones(len(weights)), rtol=1e-5)
    for coefficients in (own, *others):
        assert fits(coefficients, "beta", alpha, (k - 1) * alpha)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_dirichlet_coefficients_are_jointly_dirichlet(alpha):
    """What the first row left is shared by the others in independent proportions."""
    _, own, (second, third) = dirichlet_weights(3, alpha, seed=1)
    left = own < 0.999
    share = second[left] / (second + third)[left]
    assert fits(share, "beta", alpha, alpha)
    assert abs(scipy.stats.spearmanr(share, own[left]).statistic) < 4 / math.sqrt(left.sum())


def test_dirichlet_shares_rows_and_coefficients_between_named_inputs():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (16, 4, 3, 2)).astype(np.float32)
    mixed = DirichletMixup(4)({"weights": np.eye(16, dtype=np.float32), "image": image}, 0).inputs
    expected = np.tensordot(mixed["weights"].numpy().astype(np.float64), image, 1)
    np.testing.assert_allclose(mixed["image"], expected, atol=1e-5)


def test_dirichlet_marks_no_row_unmodified_in_a_batch_of_two_or_more():
    assert not np.any(DirichletMixup(3)(tf.eye(5), seed=0).unmodified)


@pytest.mark.parametrize("k", [1, 0, -2, 2.5, "three", None])
def test_dirichlet_k_must_be_a_whole_number_of_at_least_two(k):
    with pytest.raises(ValueError, match=r"k must be a whole number >= 2"):
        DirichletMixup(k=k)
