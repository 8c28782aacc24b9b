"""Files are whole or not there, and nothing is left beside them."""

import errno
import functools
import io
import json
import os

import pytest
import tensorflow as tf

from ecl_tf._internal import files


def test_a_file_is_replaced_at_the_end_only(tmp_path):
    path = tmp_path / "weights.keras"
    path.write_text("old")
    with files.whole(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".keras"
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"old": 1})

    def fail():
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise OSError("The disk is full.")

    with pytest.raises(OSError, match="full"):
        fail()
    with pytest.raises(TypeError, match="serializable"):
        files.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="It is a device of Linux.")
@pytest.mark.parametrize("writer", [files.whole, files.whole_directory])
@pytest.mark.parametrize("opened", [functools.partial(io.FileIO, mode="w"), tf.io.TFRecordWriter])
def test_a_full_disk_is_told_of_with_the_files_name_whoever_writes(tmp_path, writer, opened):
    def write():
        with writer(tmp_path / "shard") as temporary:
            temporary.symlink_to("/dev/full")
            with opened(str(temporary)) as file:
                file.write(b"half")

    with pytest.raises(OSError, match="No space left") as error:
        write()
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path / "shard")
    assert not any(tmp_path.iterdir())


def test_several_writers_have_a_temporary_each_and_the_last_one_stays(tmp_path):
    path = tmp_path / "plan.json"
    with files.whole(path, writer=0) as one, files.whole(path, writer=1) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_replaced_at_the_end_only(tmp_path, monkeypatch):
    path = tmp_path / "models" / "student"

    def write(text, fails=None):
        with files.whole_directory(path) as temporary:
            temporary.mkdir()
            (temporary / text).touch()
            if fails:
                monkeypatch.setattr(files.os, "replace", fails)

    def names():
        return [str(each.relative_to(path.parent)) for each in sorted(path.parent.rglob("*"))]

    write("old")
    assert names() == ["student", "student/old"]
    write("new")
    assert names() == ["student", "student/new"]

    replace, moves = files.os.replace, []

    def second_move_fails(source, target):
        moves.append(target)
        if len(moves) == 2:
            raise OSError("The disk is gone.")
        replace(source, target)

    with pytest.raises(OSError, match="gone"):
        write("other", second_move_fails)
    assert names() == ["student", "student/new"]
