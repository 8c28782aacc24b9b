"""A network in 16 bits on a machine that only imitates them."""

import types


def config(teacher, student):
    sections = (types.SimpleNamespace(network=network) for network in (teacher, student))
    return types.SimpleNamespace(**dict(zip(("teacher", "student"), sections, strict=True)))


def test_a_slow_type_is_told_of_once_with_the_remedy(monkeypatch, capsys):
    from ecl_tf.experiments import slow_precision

    monkeypatch.setattr(slow_precision, "_seconds", {"bfloat16": 0.9, "float32": 0.1}.get)
    for _ in range(2):
        slow_precision.tell(config(None, {"name": "resnet", "dtype": "mixed_bfloat16"}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and "9 times" in lines[0]
    assert lines[0].endswith("--config.student.network.dtype=float32 is likely faster.")


def test_a_fast_type_is_not_told_of(monkeypatch, capsys):
    from ecl_tf.experiments import slow_precision

    monkeypatch.setattr(slow_precision, "_seconds", {"float16": 0.1, "float32": 0.1}.get)
    slow_precision.tell(config({"dtype": "mixed_float16"}, {"dtype": "float32"}))
    assert capsys.readouterr().out == ""


def test_a_time_is_that_of_one_turn(monkeypatch):
    from ecl_tf.experiments import slow_precision

    ticks = iter(range(100))
    clock = types.SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(slow_precision, "time", clock)
    assert slow_precision._seconds.__wrapped__("bfloat16") == 1.0  # One tick from begin to end.
