"""MPIIGaze as a TFDS data set, prepared from the archive that its authors distribute.

213,659 camera images of 15 persons in front of their laptops, with the direction that
they look in. Of every image the archive holds both eyes as grey images (36, 60), brought
to one camera and distance ("normalized"). Neither the archive nor any image of it comes
with the project: its licence, CC BY-NC-SA 4.0, allows non-commercial use only.

Importing this module imports `tensorflow_datasets` and registers `mpii_gaze` there;
`ecl_tf.data.mpii_gaze` does so on its first call, and names the source.
"""

import collections
import dataclasses
import io
import re
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

PERSONS = tuple(f"p{number:02}" for number in range(15))

_IMAGE_SHAPE = (36, 60)
_HOMEPAGE = (
    "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/"
    "gaze-based-human-computer-interaction/appearance-based-gaze-estimation-in-the-wild"
)
_DESCRIPTION = """\
Grey images of eyes, normalized in camera and distance, with the direction of gaze and the
direction of the head as pitch and yaw in radians. A gaze of (pitch, yaw) is the unit vector
(-cos(pitch) sin(yaw), -sin(pitch), -cos(pitch) cos(yaw)) in camera space. Right eyes are
mirrored to look like left ones: their columns are reversed and their yaws negated. There is
one split for each of the 15 persons.
"""
_CITATION = """\
@inproceedings{zhang2015appearance,
  author = {Zhang, Xucong and Sugano, Yusuke and Fritz, Mario and Bulling, Andreas},
  title = {Appearance-based Gaze Estimation in the Wild},
  booktitle = {Proc. IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {4511--4520},
  year = {2015},
}"""
_LICENSE = (
    "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0): "
    "not for commercial use. The data comes from its authors, not with this software."
)


@dataclasses.dataclass(eq=False)
class MpiiGazeConfig(tfds.core.BuilderConfig):
    """Which rows and features are prepared.

    Attributes:
        evaluation_subset: only the rows that the archive's evaluation lists name, in
            the order of the list; otherwise all rows by day, image and eye.
        head_pose: whether there is a feature `head_pose`.
    """

    evaluation_subset: bool = True
    head_pose: bool = True


class MpiiGaze(tfds.core.GeneratorBasedBuilder):
    """Builder of `mpii_gaze`, with the splits p00 to p14, one for each person.

    Features of an example:
        image: (36, 60, 1) uint8, grey.
        gaze: (2,) float32, pitch asin(-y) and yaw atan2(-x, -z) of the unit vector of
            gaze (x, y, z), in radians.
        head_pose: (2,) float32, pitch asin(z1) and yaw atan2(z0, z2) of the third column
            z of the head's rotation matrix, in radians; not in the configuration
            `evaluation_subset_without_pose`.

    Examples are stored in the order of the archive. A row that an evaluation list names twice
    (one person has fewer images than the list has lines) is stored twice.

    Raises, while preparing:
        ValueError: if a file or directory is missing, can't be read or does not hold
            what is expected. The message names the file and, for an evaluation list,
            the line.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    Download MPIIGaze.tar.gz (2.1 GB) from
    {_HOMEPAGE}
    and agree with its licence (CC BY-NC-SA 4.0, non-commercial). Place the file, or the
    directory MPIIGaze that it holds, in the manual directory (the argument manual_dir). Of an
    extracted directory only "Data/Normalized" and "Evaluation Subset" are read.
    """
    BUILDER_CONFIGS = [  # noqa: RUF012
        MpiiGazeConfig(
            name="evaluation_subset",
            description="The evaluation lists: 1,500 left and 1,500 right eyes of each person.",
        ),
        MpiiGazeConfig(
            name="all_images",
            description="Both eyes of all normalized images.",
            evaluation_subset=False,
        ),
        MpiiGazeConfig(
            name="evaluation_subset_without_pose",
            description="The evaluation lists, of a release without head poses.",
            head_pose=False,
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "evaluation_subset"

    def _info(self):
        tensor = tfds.features.Tensor
        features = {
            # Bytes, not a PNG, which takes longer to read.
            "image": tensor(shape=(*_IMAGE_SHAPE, 1), dtype=np.uint8, encoding="bytes"),
            "gaze": tensor(shape=(2,), dtype=np.float32),
        }
        if self.builder_config.head_pose:
            features["head_pose"] = tensor(shape=(2,), dtype=np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            homepage=_HOMEPAGE,
            citation=_CITATION,
            license=_LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        root = _find_root(dl_manager)
        missing = [p for p in PERSONS if not _person_directory(root, p).is_dir()]
        if missing:
            raise ValueError(
                f"{_person_directory(root, missing[0]).parent} lacks the directories {missing}. "
                f"All of {PERSONS[0]} to {PERSONS[-1]} are expected, for leaving one person out "
                "needs them all: extract the whole MPIIGaze.tar.gz."
            )
        if self.builder_config.evaluation_subset:
            for path in (_list_path(root, person) for person in PERSONS):
                if not path.exists():
                    raise ValueError(
                        f"The evaluation list {path} is missing. Extract the whole "
                        'MPIIGaze.tar.gz, or choose the configuration "all_images".'
                    )
        return {person: self._generate_examples(root, person) for person in PERSONS}

    def _generate_examples(self, root, person):
        head_pose = self.builder_config.head_pose
        directory = _person_directory(root, person)
        if self.builder_config.evaluation_subset:
            examples = _listed_examples(directory, _list_path(root, person), head_pose)
        else:
            examples = _all_examples(directory, head_pose)
        # Without shuffling TFDS sorts by the key, which must be an integer.
        yield from enumerate(examples)


def _find_root(dl_manager):
    """The directory that holds `Data/Normalized`, of an archive extracted if need be."""
    manual = dl_manager.manual_dir
    for directory in (manual / "MPIIGaze", manual):
        if (directory / "Data" / "Normalized").is_dir():
            return directory
    archive = manual / "MPIIGaze.tar.gz"
    if not archive.exists():
        raise ValueError(
            f"{manual} holds neither MPIIGaze.tar.gz nor MPIIGaze/Data/Normalized. One of them "
            "is expected: place the archive there, which can be had from " + _HOMEPAGE
        )
    try:
        extracted = dl_manager.extract(archive)
    except Exception as error:
        raise ValueError(
            f"{archive} can't be extracted ({_reason(error)}). A whole gzipped tar file is "
            "expected, and space on the disk for all of its files: download it again, or "
            "extract it yourself, so that there is MPIIGaze/Data/Normalized."
        ) from error
    if not (extracted / "MPIIGaze" / "Data" / "Normalized").is_dir():
        raise ValueError(
            f"{archive} holds no directory MPIIGaze/Data/Normalized, as the authors' archive "
            "does. Download it again from " + _HOMEPAGE
        )
    return extracted / "MPIIGaze"


def _person_directory(root, person):
    return root / "Data" / "Normalized" / person


def _list_path(root, person):
    return root / "Evaluation Subset" / "sample list for eye image" / f"{person}.txt"


def _all_examples(directory, head_pose):
    paths = sorted(directory.glob("day*.mat"))
    if not paths:
        raise ValueError(
            f"{directory} holds no file day*.mat, one for each day is expected. Extract the "
            "whole MPIIGaze.tar.gz."
        )
    for path in paths:
        day = _read_day(path, head_pose)
        for row in range(len(day.names)):
            for side in day.eyes:
                yield day.example(row, side)


def _listed_examples(directory, list_path, head_pose):
    """One example for each line of an evaluation list, in its order.

    Every day's file is read once, and only one at a time is in memory.
    """
    by_day = collections.defaultdict(list)
    for entry in _read_list(list_path):
        by_day[entry.day].append(entry)
    examples = {}
    for name, entries in by_day.items():
        path = directory / f"{name}.mat"
        if not path.exists():
            raise ValueError(
                f"{entries[0].place} names {name}, but there is no {path}. The list and the "
                "images must be of the same release: extract the whole MPIIGaze.tar.gz."
            )
        day = _read_day(path, head_pose)
        for entry in entries:
            rows = [row for row, image_name in enumerate(day.names) if image_name == entry.name]
            if len(rows) != 1:
                raise ValueError(
                    f"{entry.place} names {entry.name}, which must be one of the names that "
                    f"{path} holds; it is there {len(rows)} times. The list and the images must "
                    "be of the same release: extract the whole MPIIGaze.tar.gz."
                )
            examples[entry.number] = day.example(rows[0], entry.side, f" (named by {entry.place})")
    return [examples[number] for number in sorted(examples)]


class _Entry(NamedTuple):
    """A line of an evaluation list, and where it is, for messages."""

    place: str
    number: int
    day: str
    name: str
    side: str


def _read_list(path):
    entries = []
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(day\d+)/(\S+)\s+(left|right)", line.strip())
        if not match:
            raise ValueError(
                f'{path}, line {number}, is {line!r}; a line such as "day01/0001.jpg left" is '
                "expected. Restore the list from MPIIGaze.tar.gz."
            )
        entries.append(_Entry(f"{path}, line {number},", number, *match.groups()))
    if not entries:
        raise ValueError(f"{path} is empty. Restore the list from MPIIGaze.tar.gz.")
    return entries


class _Day(NamedTuple):
    """A day's file: the images' names, and of each side the arrays of all rows as stored."""

    path: object
    names: list
    eyes: dict

    def example(self, row, side, source=""):
        """The features of a row of one side; ValueError if its vectors can't be used."""
        eye = {field: values[row] for field, values in self.eyes[side].items()}
        sign = np.array([1.0, -1.0 if side == "right" else 1.0])
        length = np.linalg.norm(eye["gaze"])
        if not abs(length - 1.0) < 0.01:  # Not for NaN either.
            self._refuse(row, side, source, "gaze", eye["gaze"], "a unit vector")
        x, y, z = eye["gaze"].astype("float64") / length
        image = eye["image"][..., None]
        # A copy, for views would keep all days in memory.
        features = {"image": (image[:, ::-1] if side == "right" else image).copy()}
        angles = {"gaze": np.array([np.arcsin(-np.clip(y, -1.0, 1.0)), np.arctan2(-x, -z)])}
        if "pose" in eye:
            if not np.isfinite(eye["pose"]).all():
                self._refuse(row, side, source, "pose", eye["pose"], "a finite rotation vector")
            x, y, z = Rotation.from_rotvec(eye["pose"]).as_matrix()[:, 2]
            angles["head_pose"] = np.array([np.arcsin(np.clip(y, -1.0, 1.0)), np.arctan2(x, z)])
        return features | {name: (each * sign).astype("float32") for name, each in angles.items()}

    def _refuse(self, row, side, source, field, value, expected):
        raise ValueError(
            f"{self.path}: data.{side}.{field} of {self.names[row]}, row {row + 1}, is "
            f"{value.tolist()}{source}; {expected} is expected. Restore the file from "
            "MPIIGaze.tar.gz, or remove the row."
        )


def _read_day(path, head_pose):
    """Reads a day's file (MATLAB 5) into a `_Day`; ValueError if it is not as expected."""
    try:
        contents = loadmat(io.BytesIO(path.read_bytes()), simplify_cells=True)
    except Exception as error:
        raise ValueError(
            f"{path} can't be read ({_reason(error)}). A MATLAB 5 file is expected: restore it "
            "from MPIIGaze.tar.gz."
        ) from error
    names = [str(name).strip() for name in np.atleast_1d(_field(path, contents, "filenames"))]
    shapes = {"image": _IMAGE_SHAPE, "gaze": (3,)} | ({"pose": (3,)} if head_pose else {})
    eyes: dict[str, dict] = {"left": {}, "right": {}}
    for side, eye in eyes.items():
        for field, shape in shapes.items():
            name = f"data.{side}.{field}"
            array = np.asarray(_field(path, contents, name))
            # The reader squeezes the arrays of a day with a single image.
            array = array[None] if array.shape == shape else array
            expected = "uint8" if field == "image" else "numbers"
            fits = array.dtype == "uint8" if field == "image" else array.dtype.kind in "fiu"
            shape = (len(names), *shape)
            if array.shape != shape or not fits:
                raise ValueError(
                    f"{path}: {name} is an array {array.shape} of {array.dtype}; {shape} of "
                    f"{expected} is expected, for there are {shape[0]} file names. Restore the "
                    "file from MPIIGaze.tar.gz."
                )
            eye[field] = array
    return _Day(path, names, eyes)


def _field(path, contents, name):
    """The array at a dotted name, through MATLAB's structs."""
    try:
        for key in name.split("."):
            contents = contents[key]
    except (IndexError, KeyError, TypeError) as error:
        mend = "restore the file from MPIIGaze.tar.gz."
        if name.endswith(".pose"):
            mend = (
                "of a release without head poses prepare the configuration "
                '"evaluation_subset_without_pose"; of others ' + mend
            )
        raise ValueError(
            f"{path} holds no {name}. Expected are data.left and data.right with image, gaze and "
            f"pose, and filenames: {mend}"
        ) from error
    return contents


def _reason(error):
    return f"{type(error).__name__}: {error}".split("\n")[0]
