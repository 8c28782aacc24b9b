"""MPIIGaze from archives that the tests write with SciPy; no real data is needed."""

import math
import re
import shutil
import tarfile

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_arrays import arrays, assert_same
from scipy.io import savemat

from ecl_tf import data
from ecl_tf.data.mpii_gaze_builder import PERSONS, MpiiGaze

SIDES = "left", "right"
# Two days a person, the second with a single image.
DAYS = {"day01": ["0001.jpg", "0002.jpg", "0005.jpg"], "day02": ["0001.jpg"]}
# In no order of days, and one row twice, as for the person with too few images.
LINES = [
    "day02/0001.jpg right",
    "day01/0005.jpg left",
    "day01/0001.jpg right",
    "day02/0001.jpg left",
    "day01/0005.jpg left",
]


def day_contents(person, names, generator, pose=True):
    """A day's file: the first row of every image holds the number of the person."""
    eyes = {}
    for side in SIDES:
        images = generator.integers(0, 256, (len(names), 36, 60), dtype=np.uint8)
        images[:, 0] = PERSONS.index(person)
        gaze = generator.normal(size=(len(names), 3)) - [0.0, 0.0, 3.0]
        gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
        eyes[side] = {"image": images, "gaze": gaze}
        if pose:
            eyes[side]["pose"] = generator.normal(scale=0.5, size=(len(names), 3))
    return {"data": eyes, "filenames": np.array(names, dtype=object)[:, None]}


def write_archive(root, pose=True):
    """Writes the layout of MPIIGaze below `root`; returns what the files hold."""
    generator = np.random.default_rng(0)
    written = {}
    for person in PERSONS:
        directory = root / "Data/Normalized" / person
        directory.mkdir(parents=True)
        for day, names in DAYS.items():
            written[person, day] = day_contents(person, names, generator, pose)
            savemat(directory / f"{day}.mat", written[person, day])
        list_path(root, person).parent.mkdir(parents=True, exist_ok=True)
        list_path(root, person).write_text("\n".join(LINES) + "\n")
    return written


def list_path(root, person="p00"):
    return root / "Evaluation Subset/sample list for eye image" / f"{person}.txt"


def day_path(root, person="p00", day="day01"):
    return root / "Data/Normalized" / person / f"{day}.mat"


def prepare(data_dir, manual_dir, config="evaluation_subset", **arguments):
    builder = MpiiGaze(data_dir=str(data_dir), config=config)
    download_config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    builder.download_and_prepare(download_config=download_config, **arguments)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A manual directory, and what its files hold."""
    directory = tmp_path_factory.mktemp("manual")
    EvaluationSubsetTest.EXAMPLE_DIR = directory
    return directory, write_archive(directory / "MPIIGaze")


@pytest.fixture(scope="module")
def prepared(archive, tmp_path_factory):
    """Where a copy is prepared: arguments of `mpii_gaze` that need no archive any more."""
    data_dir = str(tmp_path_factory.mktemp("data"))
    prepare(data_dir, archive[0])
    prepare(data_dir, archive[0] / "MPIIGaze", "all_images")  # The extracted one, itself.
    return {"data_dir": data_dir, "manual_dir": "/nowhere"}


@pytest.fixture
def where(tmp_path):
    """Where nothing is prepared yet: arguments of `mpii_gaze`."""
    (tmp_path / "manual").mkdir()
    return {"data_dir": tmp_path / "data", "manual_dir": tmp_path / "manual"}


@pytest.fixture
def broken(archive, where):
    """A copy of the archive, for a test to break."""
    return shutil.copytree(archive[0] / "MPIIGaze", where["manual_dir"] / "MPIIGaze")


def write_tar(manual_dir, source, name):
    with tarfile.open(manual_dir / "MPIIGaze.tar.gz", "w:gz") as file:
        file.add(source, name)


def expected_example(contents, row, side):
    """Image, gaze and head pose of a row, by hand."""
    eye = contents["data"][side]
    x, y, z = eye["gaze"][row]
    gaze = [math.asin(-y), math.atan2(-x, -z)]
    # The rotation matrix is the exponential of the rotation vector's cross product.
    column = scipy.linalg.expm(np.cross(np.eye(3), eye["pose"][row]))[:, 2]
    pose = [math.asin(column[1]), math.atan2(column[0], column[2])]
    image = eye["image"][row]
    if side == "right":
        image = image[:, ::-1]
        gaze[1], pose[1] = -gaze[1], -pose[1]
    return image[..., None], gaze, pose


@pytest.mark.slow
@pytest.mark.usefixtures("archive")
class EvaluationSubsetTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own checks, with the evaluation lists."""

    DATASET_CLASS = MpiiGaze
    BUILDER_CONFIG_NAMES_TO_TEST = ("evaluation_subset",)
    SPLITS = dict.fromkeys(PERSONS, len(LINES))


NAMED = [line.replace("/", " ").split() for line in LINES]


@pytest.mark.parametrize(
    ("builder_config", "rows"),
    [
        ("evaluation_subset", [(day, DAYS[day].index(name), side) for day, name, side in NAMED]),
        ("all_images", [(d, r, s) for d in DAYS for r in range(len(DAYS[d])) for s in SIDES]),
    ],
)
def test_examples_are_the_listed_or_all_rows_in_order(archive, prepared, builder_config, rows):
    inputs, labels = arrays(data.mpii_gaze("p11", builder_config=builder_config, **prepared).test)
    assert len(labels) == len(rows)
    for index, (day, row, side) in enumerate(rows):
        image, gaze, pose = expected_example(archive[1]["p11", day], row, side)
        np.testing.assert_array_equal(inputs["image"][index], image)
        np.testing.assert_allclose(labels[index], gaze, atol=1e-6)
        np.testing.assert_allclose(inputs["head_pose"][index], pose, atol=1e-6)


# A vector of gaze with its pitch and yaw, and a rotation vector with those of the head. Where
# the pitch is a right angle, there is no yaw.
DIRECTIONS = [
    ([0.0, 0.6, -0.8], [-0.6435011, 0.0], [math.pi / 6, 0.0, 0.0], [-math.pi / 6, 0.0]),
    ([-1.0, 0.0, 0.0], [0.0, math.pi / 2], [0.0, math.pi / 3, 0.0], [0.0, math.pi / 3]),
    # Rounded to a little more than 1, where the arc sine alone would be NaN.
    ([0.0, -1.0000001, 0.0], [math.pi / 2, None], [-math.pi / 2, 0.0, 0.0], [math.pi / 2, None]),
]


def test_known_directions(broken, where):
    contents = day_contents("p00", DAYS["day01"], np.random.default_rng(1))
    gazes, gaze_angles, poses, pose_angles = zip(*DIRECTIONS, strict=True)
    for eye in contents["data"].values():
        eye.update(gaze=np.array(gazes), pose=np.array(poses))
    savemat(day_path(broken), contents)
    inputs, labels = arrays(data.mpii_gaze(builder_config="all_images", **where).test)
    for found, expected in ((labels, gaze_angles), (inputs["head_pose"], pose_angles)):
        for left, right, (pitch, yaw) in zip(found[:6:2], found[1:6:2], expected, strict=True):
            assert [left[0], right[0]] == pytest.approx([pitch] * 2, abs=1e-6)
            if yaw is not None:
                assert [left[1], right[1]] == pytest.approx([yaw, -yaw], abs=1e-6)


@pytest.mark.parametrize(
    ("held_out", "validation_persons", "validation"),
    [("p00", 1, [1]), ("p13", 3, [14, 0, 1]), ("p02", 0, [])],
)
def test_leave_one_person_out(prepared, held_out, validation_persons, validation):
    splits = data.mpii_gaze(held_out, validation_persons=validation_persons, **prepared)
    test = int(held_out[1:])
    train = [p for p in range(15) if p != test and p not in validation]
    parts = {splits.train: train, splits.validation: validation or train, splits.test: [test]}
    for dataset, persons in parts.items():
        found = arrays(dataset)[0]["image"][:, 0, 0, 0]
        np.testing.assert_array_equal(found, np.repeat(persons, len(LINES)))
        assert int(dataset.cardinality()) == len(found)
    assert (splits.validation is splits.train) == (not validation)  # The published protocol.
    assert splits.event_size == 2
    assert splits.input_shape == {"image": (36, 60, 1), "head_pose": (2,)}


def test_inputs_without_head_pose(prepared):
    splits = data.mpii_gaze(head_pose=False, **prepared)
    inputs, label = splits.train.element_spec
    assert inputs == {"image": tf.TensorSpec((36, 60, 1), tf.uint8)}
    assert label == tf.TensorSpec((2,), tf.float32)
    with_pose = data.mpii_gaze(**prepared).test
    assert_same(with_pose.map(lambda x, y: ({"image": x["image"]}, y)), splits.test)


def test_tar_archive(archive, prepared, where):
    write_tar(where["manual_dir"], archive[0] / "MPIIGaze", "MPIIGaze")
    splits = data.mpii_gaze(builder_config="all_images", **where)
    expected = data.mpii_gaze(builder_config="all_images", **prepared)
    for _ in range(2):  # In every pass.
        assert_same(splits.train, expected.train)


def test_a_release_without_head_poses(where):
    write_archive(where["manual_dir"] / "MPIIGaze", pose=False)
    with pytest.raises(ValueError, match=r"p00/day0.\.mat holds no data.\w+.pose.*without_pose"):
        data.mpii_gaze(**where)
    where["builder_config"] = "evaluation_subset_without_pose"
    with pytest.raises(ValueError, match="no head poses: set head_pose=False"):
        data.mpii_gaze(**where)
    splits = data.mpii_gaze(head_pose=False, **where)
    assert splits.input_shape == {"image": (36, 60, 1)}
    assert int(splits.test.cardinality()) == len(LINES)


def test_other_forms_of_files(archive, broken, prepared, where):
    """File names in a list; single rows that lost a dimension when they were saved."""
    for day in DAYS:
        squeezed = {
            side: {name: np.squeeze(array) for name, array in eye.items()}
            for side, eye in archive[1]["p00", day]["data"].items()
        }
        savemat(day_path(broken, day=day), {"data": squeezed, "filenames": list(DAYS[day])})
    assert_same(data.mpii_gaze(**where).test, data.mpii_gaze(**prepared).test)


def test_mock_examples_need_no_data(tmp_path):
    splits = data.load("mpii_gaze", mock_examples=7, data_dir=str(tmp_path / "none"))
    inputs, labels = arrays(splits.train)
    assert int(splits.train.cardinality()) == 7 and len(np.unique(labels)) == 14
    assert inputs["image"].dtype == np.uint8 and inputs["image"].shape == (7, 36, 60, 1)
    assert inputs["head_pose"].shape == labels.shape == (7, 2)
    for dataset in (splits.validation, splits.test):
        assert dataset is not splits.train
        assert_same(dataset, splits.train)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("held_out", "p15", "one of p00 to p14"),
        ("validation_persons", 14, "a whole number from 0 to 13"),
        ("mock_examples", -1, "a whole number >= 0"),
        ("builder_config", "faces", "expected one of .*all_images"),
    ],
)
def test_impossible_arguments_are_refused(name, value, expected):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; {expected}"):
        data.mpii_gaze(**{name: value})


def listed(line):
    """A break: p00's list with another third line."""
    return lambda root: list_path(root).write_text(f"{LINES[0]}\n\n{line}\n")


def cut_file(root):
    day_path(root).write_bytes(day_path(root).read_bytes()[:3000])


def replace_by_bytes(root):
    shutil.rmtree(root)
    (root.parent / "MPIIGaze.tar.gz").write_bytes(b"nothing of the kind")


def replace_by_tar(root):
    shutil.rmtree(root)
    write_tar(root.parent, __file__, "MPIIGaze/readme.txt")


# What breaks an archive, and the message.
BREAKS = [
    (shutil.rmtree, r"holds neither MPIIGaze.tar.gz nor MPIIGaze/Data/Normalized"),
    (replace_by_bytes, r"MPIIGaze\.tar\.gz can't be extracted.*download it"),
    (replace_by_tar, r"holds no directory MPIIGaze/Data/Normalized"),
    (lambda root: shutil.rmtree(root / "Data/Normalized/p06"), r"lacks the directories \['p06'\]"),
    (lambda root: list_path(root, "p09").unlink(), r"p09\.txt is missing"),
    (listed("day01/0001.jpg both"), r"p00\.txt, line 3, is 'day01/0001.jpg both'; a line such"),
    (listed("day01/0003.jpg left"), r"txt, line 3, names 0003.jpg.*p00/day01\.mat.*0 times"),
    (listed("day03/0001.jpg left"), r"txt, line 3, names day03, but there is no .*p00/day03\.mat"),
    (cut_file, r"p00/day01\.mat can't be read.*MATLAB 5 file is expected: restore it"),
]


@pytest.mark.parametrize(("break_", "message"), BREAKS)
def test_a_broken_archive_is_refused_with_its_file(broken, where, break_, message):
    (broken.parent / "note.txt").write_text("So that the manual directory is never empty.")
    break_(broken)
    with pytest.raises(ValueError, match=message):
        data.mpii_gaze(**where)


def edit_day(root, name, edit):
    """Writes p00's first day with one array, or dict of arrays, as `edit` makes it."""
    contents = within = day_contents("p00", DAYS["day01"], np.random.default_rng(1))
    *outer, last = name.split(".")
    for key in outer:
        within = within[key]
    within[last] = edit(within[last])
    savemat(day_path(root), contents)


LAST_ROW = np.array([[False], [False], [True]])


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("filenames", lambda x: x[[2, 0, 2]], "; it is there 2 times"),
        ("data.right", lambda x: {"gaze": x["gaze"]}, " holds no data.right.image"),
        ("data.left.image", lambda x: x.swapaxes(1, 2), r": .*\(3, 60, 36\).*; \(3, 36, 60\)"),
        ("data.right.image", np.float64, r": .* is an array .*float64; \(3, 36, 60\) of uint8"),
        ("data.left.gaze", lambda x: x[:2], r": .*\(2, 3\) of float64; \(3, 3\) of numbers"),
        ("data.left.gaze", lambda x: np.where(LAST_ROW, np.nan, x), ": .*nan.*a unit vector"),
        ("data.left.pose", lambda x: np.where(LAST_ROW, np.inf, x), ": .*inf.*a finite rotation"),
    ],
)
def test_a_broken_day_is_refused_with_its_file(broken, where, name, edit, message):
    edit_day(broken, name, edit)
    with pytest.raises(ValueError, match=rf"p00/day01\.mat.*{message}") as error:
        data.mpii_gaze(**where)
    if "row" in str(error.value):  # What the list's second line names.
        assert re.search(rf"{name} of 0005.jpg, row 3, .*p00\.txt, line 2,", str(error.value))


def test_all_images_refuse_broken_files(broken, where):
    shutil.rmtree(broken / "Evaluation Subset")  # Not needed here.
    edit_day(broken, "data.right.gaze", lambda gaze: 2 * gaze)
    with pytest.raises(ValueError, match=r"day01\.mat: data.right.gaze of 0001.jpg, row 1, is"):
        data.mpii_gaze(builder_config="all_images", **where)
    for day in DAYS:
        day_path(broken, day=day).unlink()
    with pytest.raises(ValueError, match=r"p00 holds no file day\*\.mat"):
        data.mpii_gaze(builder_config="all_images", **where)


def test_a_mended_archive_is_prepared_after_a_failure(broken, where):
    text = list_path(broken, "p10").read_text()
    list_path(broken, "p10").write_text("\n")
    with pytest.raises(ValueError, match=r"p10\.txt is empty"):
        data.mpii_gaze(**where)
    # Line ends and blank lines of other systems do no harm.
    list_path(broken, "p10").write_bytes(text.replace("\n", "\r\n").encode() + b"\r\n")
    assert len(arrays(data.mpii_gaze("p10", **where).test)[1]) == len(LINES)


def test_without_data_tfds_tells_how_to_get_it(tmp_path):
    with pytest.raises(AssertionError, match=r"(?s)does not exist or is empty.*Download MPIIGaze"):
        data.mpii_gaze(data_dir=str(tmp_path), manual_dir=str(tmp_path / "nowhere"))


def test_copies_in_another_format_are_refused(archive, tmp_path):
    prepare(tmp_path, archive[0], file_format="array_record")
    with pytest.raises(ValueError, match=r"prepared as array_record, of which .* Remove it"):
        data.mpii_gaze(data_dir=str(tmp_path))
