"""The report of made-up results: its numbers, its parts, and that it stands alone."""

import base64
import contextlib
import html
import io
import itertools
import json
import re
import shutil
import subprocess
import unittest.mock
from xml.etree import ElementTree

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
from scipy import stats

from ecl_tf import outputs
from ecl_tf.experiments import diagnostics, figures, report, side_by_side, tables

METHODS = ("ERM", "standard KD", "tuned KD", "XCL", "FunMatch")
METRICS = {"accuracy": ("accuracy", "nll", "ece"), "rmse": ("rmse", "nll", "coverage")}
CURVE = {"predicted": [0.5, 0.9], "observed": [0.4, 1.0], "weight": [0.5, 0.5]}
DETAILS = ["Learning curves", "Reliability", "Between the training points", "Sampled inputs"]


def make(score="accuracy", methods=METHODS, seeds=3, seed=0, shape=(4, 4, 1), classes=10):
    """Results of one comparison, of random numbers."""
    generator = np.random.default_rng(seed)
    results = {"score": score, "higher_is_better": score == "accuracy", "runs": {}, "final": {}}
    results |= {"student_steps": 6000, "student_weights": 678, "teacher_weights": 12345}
    results["teacher"] = dict.fromkeys(METRICS[score], 0.5) | {score: 0.9}
    for turn, method in enumerate(methods):
        results["final"][method] = [f"{method}, seed {number}" for number in range(seeds)]
        for number, key in enumerate(results["final"][method]):
            results["runs"][key] = {
                "label": "" if method == "FunMatch" else f"settings {turn}",
                "seconds": turn + number,
                "seed": number,
                "test": {metric: generator.uniform(0.6, 0.7) for metric in METRICS[score]},
                "curve": [{"step": step, score: generator.random()} for step in (10, 20, 30)],
                "reliability": CURVE,
            }
    everyone = ("teacher", *methods)
    if score == "accuracy":
        drawn = {who: generator.dirichlet(np.ones(classes), 3).tolist() for who in everyone}
        answers = {who: {"probabilities": probabilities} for who, probabilities in drawn.items()}
    else:
        answers = {who: {"mean": [[0.5, -2.0]] * 3, "stddev": [[0.1, 0.2]] * 3} for who in everyone}
        lines = {who: {"mean": [0.0, 2.0], "stddev": [0.1, 0.1]} for who in everyone}
        train = {"x": [0.1, 0.5], "y": [1.0, 2.0]}
        results["one_dimension"] = {"x": [0.0, 1.0], "train": train, "distributions": lines}
    inputs = generator.random((3, *shape)).tolist()
    results["gallery"] = {"shape": list(shape), "inputs": inputs, "distributions": answers}
    return results | {"teacher_reliability": CURVE}


def drawing_on(make, monkeypatch):
    """Leaves the images' files out, for their time; a dict from alternative text to axes."""
    found = {}

    @contextlib.contextmanager
    def draw(images, alt, size, *_):
        found[alt] = make()
        yield found[alt]
        images.append({"alt": alt, "src": "data:,"})

    monkeypatch.setattr(figures, "_image", draw)
    return found


@pytest.fixture
def drawn(monkeypatch):
    return drawing_on(lambda: matplotlib.figure.Figure().subplots(), monkeypatch)


@pytest.fixture
def undrawn(monkeypatch):
    """Where only the alternative texts matter."""
    return drawing_on(unittest.mock.MagicMock, monkeypatch)


def parse(results):
    return ElementTree.fromstring(report.page(results, "<Title>"))


def texts(elements):
    return ["".join(element.itertext()).strip() for element in elements]


def rows_of(page):
    """Every table, as rows of text."""
    return [[texts(row) for row in table.iter("tr")] for table in page.iter("table")]


def attributes(page, name):
    return [element.get(name) for element in page.iter() if element.get(name)]


def markdown_rows(results):
    lines = [line for line in tables.table(results).splitlines() if line.startswith("| ")]
    header, _, *rows = [line[2:-2].split(" | ") for line in lines]
    return [header, *rows]


@pytest.mark.parametrize("score", ["accuracy", "rmse"])
def test_the_table_holds_the_numbers_of_the_results(score, undrawn):
    results = make(score, shape=(4, 4, 3))
    rows = rows_of(parse(results))[0]
    assert rows == markdown_rows(results)
    units = np.array([100 if m in ("accuracy", "ece", "coverage") else 1 for m in METRICS[score]])
    teacher = units * [*results["teacher"].values()]
    assert rows[1][:4] == ["teacher, 12,345 weights", *(f"{value:.2f}" for value in teacher)]
    for turn, (method, row) in enumerate(zip(METHODS, rows[2:], strict=True)):
        assert row[0] == method + (f" (settings {turn})" if method != "FunMatch" else "")
        tests = [[*results["runs"][key]["test"].values()] for key in results["final"][method]]
        mean, half = units * np.mean(tests, 0), units * stats.t.ppf(0.975, 2) * stats.sem(tests)
        assert row[1:4] == [f"{m:.2f} ± {h:.2f}" for m, h in zip(mean, half, strict=True)]
        assert row[-1] == f"{turn + 1:.1f}"  # Seconds turn, turn + 1 and turn + 2.


def test_what_is_shipped_is_beside_the_scores(undrawn):
    costs = {"bytes": 28101, "parameters": 6090, "multiply_adds": 84224}
    slow = {"seconds": {"1": 0.30449e-3, "32": 0.0123456e-3}}
    function = dict.fromkeys(costs) | slow
    known = {"accuracy": 0.9, "nll": 0.25, "ece": 0.01}
    rows = {
        "teacher": {"scores": known, "costs": function},
        "student.tflite": {"scores": known | {"accuracy": 0.8}, "costs": costs | slow},
        "student.onnx": {"scores": {}, "costs": {}},  # Where the measurement failed.
    }
    results = make() | {"shipped": {"split": "test", "rows": rows, "of": "XCL, seed 3"}}
    page = parse(results)
    assert texts(page.iter("h2"))[:3] == ["Scores", "What is shipped", "How it was made"]
    header, *others = rows_of(page)[1]
    assert header[1:4] == ["accuracy, %", "NLL, nats", "ECE, %"] and len(header) == 9
    assert others == [
        ["teacher", "90.00", "0.25", "1.00", "", "", "", "0.304", "0.0123"],
        ["student.tflite", "80.00", "0.25", "1.00", "28,101", "6,090", "84,224", "0.304", "0.0123"],
        ["student.onnx", *[""] * 8],
    ]
    *_, table, note = tables.table(results).strip().split("\n\n")
    lines = [line[2:-2].split(" | ") for line in table.splitlines()]
    assert [[cell.strip() for cell in line] for line in lines[2:]] == [row[:-2] for row in others]
    assert "XCL, seed 3" in note and "illiseconds" not in note
    assert any("XCL, seed 3" in text and "Milliseconds" in text for text in texts(page.iter("p")))


def test_the_gap_closed_by_hand():
    """A gap that is the same for each seed: the interval is the gain's, over the gap."""
    results = make()
    given = {"standard KD": (0.7, 0.7, 0.7), "tuned KD": (0.9, 0.9, 0.9)}
    for method, values in (given | {"FunMatch": (0.78, 0.8, 0.82)}).items():
        for key, value in zip(results["final"][method], values, strict=True):
            results["runs"][key]["test"]["accuracy"] = value
    low, high = np.array(stats.t.interval(0.95, 2, 0.1, stats.sem([0.08, 0.1, 0.12]))) / 0.2
    *_, last = rows = markdown_rows(results)
    assert last[4] == f"50 % ({100 * low:.0f} to {100 * high:.0f})"
    assert last[5] == "undefined: tuned KD meets the teacher" and rows[2][4:6] == ["", ""]
    # A gap that is not clearly different from zero bounds nothing.
    results["runs"][results["final"]["tuned KD"][0]]["test"]["accuracy"] = 0.3
    assert markdown_rows(results)[-1][5].endswith(" % (unbounded interval)")


def test_divergences_the_oracles_share_and_the_verdict_by_hand(undrawn):
    results = make(methods=(*METHODS, "oracle"))
    without = markdown_rows(results)
    # Of the test: KD 0.10, the sampled student 0.05 and the oracle 0.04, whatever the seed.
    given = {"standard KD": 0.11, "tuned KD": 0.10, "XCL": 0.05, "oracle": 0.04}
    for number, run in enumerate(results["runs"].values()):
        method = METHODS[number // 3] if number < 15 else "oracle"
        new = given.get(method, 0.2)
        run["divergence"] = {"train": 0.01, "validation": new, "test": new + 0.01 * (number % 3)}
        run["validation"] = {"accuracy": 0.8 if method == "ERM" else 0.85}
    results["teacher_quality"] = {"validation": {"accuracy": 0.9}}
    header, teacher, *rows = markdown_rows(results)
    assert header[-2] == "divergence, training / new inputs" and teacher[-2] == ""
    assert [row[-2] for row in rows] == [
        f"0.0100 / {given.get(method, 0.2) + 0.01:.4f}" for method in (*METHODS, "oracle")
    ]
    note = tables.note(results)
    assert note in texts(parse(results).iter("p"))
    # (0.10 - 0.05) / (0.10 - 0.04), and for the other method (0.10 - 0.20) / 0.06.
    assert "the oracle closes: XCL 83 % (83 to 83), FunMatch -167 % (-167 to -167)." in note
    # ERM errs in 20 % and the teacher in 10; 90 % of KD's 0.10 are not there on training inputs.
    assert "What would help: samples." in note and "50 % below ERM's" in note
    assert "90 % of that is found on new inputs only" in note
    results["teacher_quality"]["validation"]["accuracy"] = 0.79
    assert "What would help: a better teacher, then labels." in tables.note(results)
    # An average over folds says the same; results of earlier versions say nothing.
    averaged = tables.average([results, results])
    assert averaged["runs"]["XCL, seed 0"]["divergence"]["train"] == 0.01
    assert tables.verdict(averaged) == tables.verdict(results)
    del results["runs"]["XCL, seed 1"]["divergence"]
    assert markdown_rows(results) == without and "would help" not in tables.note(results)


def test_parts_are_there_as_their_data_is(undrawn):
    results = make("rmse", shape=(5,))
    always = ["Scores", "How it was made", "Test scores"]
    assert texts(parse(results).iter("h2")) == [*always, *DETAILS]
    page = parse(results | {"gallery": None, "one_dimension": None})
    assert texts(page.iter("h2")) == [*always, *DETAILS[:2]]
    # Of folds there is an average of the scores alone.
    assert texts(parse(tables.average([results, results])).iter("h2")) == always
    for key in results["final"]["XCL"]:
        del results["runs"][key]["curve"], results["runs"][key]["reliability"]
    labels = " ".join(attributes(parse(results), "alt"))
    assert "validation RMSE by step, for ERM, standard KD, tuned KD, FunMatch" in labels
    assert "nominal level: FunMatch" in labels and "nominal level: XCL" not in labels


def test_the_page_stands_alone_and_its_text_is_escaped():
    name = """<script>alert("&")</script>|$x_'"""
    results = make(methods=(*METHODS[:4], name))
    page = parse({"cells": {f"a={name}": results, "a=2": {"runs": {}}}})
    assert not {element.tag for element in page.iter()} & {"link", "script", "iframe", "object"}
    assert not any(word in texts(page.iter("style"))[0] for word in ("@import", "url("))
    sources, links = attributes(page, "src"), attributes(page, "href")
    assert all(target.startswith(("data:image/", "#")) for target in sources + links)
    assert len(attributes(page, "alt")) == len(sources) == 3 + 1 + 6 + 3
    assert texts(page.iter("h1")) == ["<Title>"] and texts(page.iter("h2")) == [
        "Overview",
        f"a={name}",
    ]
    *_, own, gallery = rows_of(page)
    assert own[-1][0] == f"{name} (settings 4)" and gallery[0][-1] == name
    assert any(name in label for label in attributes(page, "aria-label"))
    assert name.replace("|", "\\|") in tables.table(results)  # A bar would begin a column.


def suites(results):
    """Gives results a suite: method number m has an NLL of m + severity / 10, seed for seed."""
    finals = results["final"].values()
    everyone = [(0, results.setdefault("teacher_suite", {}))]
    everyone += [
        (turn, results["runs"][key].setdefault("suite", {}))
        for turn, keys in enumerate(finals, 1)
        for key in keys
    ]
    for turn, found in everyone:
        found |= {f"corrupted_nll_{level}": turn + level / 10 for level in range(1, 6)}
        found |= {f"corrupted_accuracy_{level}": 0.6 - level / 10 for level in range(1, 6)}
        found |= {"corrupted_nll": turn + 0.3, "corrupted_accuracy": 0.3, "aurc": 0.0123}
    return results


def test_the_suite_is_shown_where_it_is_there(drawn):
    results = suites(make())
    results["runs"]["XCL, seed 0"]["suite"]["aurc"] = 0.0153
    page = parse(results)
    assert "Beyond the test scores" in texts(page.iter("h2"))
    # 0.003 above the others, of a mean of 3: the half width is 4.303 times 0.001. Numbers of one
    # severity are in the pictures, and test scores in the first table.
    who = ["", "teacher", *METHODS]
    same = "0.01230 ± 0.00000"
    words = "area under the risk-coverage curve"
    assert rows_of(page)[1:3] == [
        [who, [words, "0.01230", *[same] * 3, "0.01330 ± 0.00430", same]],
        [
            who,
            ["NLL, nats", "0.3000", *(f"{turn}.300 ± 0.000" for turn in range(1, 6))],
            ["accuracy, %", "30.00", *["30.00 ± 0.00"] * 5],
        ],
    ]
    axes = {alt: frame for alt, frame in drawn.items() if "by severity" in alt}
    assert [alt.split(" by")[0] for alt in axes] == ["accuracy, %", "NLL, nats"]
    for frame, clean in zip(axes.values(), (90, 0.5), strict=True):
        first = frame.get_lines()[0].get_ydata()
        expected = [50, 40, 30, 20, 10] if clean == 90 else [0.1, 0.2, 0.3, 0.4, 0.5]
        np.testing.assert_allclose(first, [clean, *expected])

    # Curves: the first seed's coverages, and means of the risks there.
    assert "Risk and coverage" not in texts(page.iter("h2"))
    risks = {"teacher_risk_coverage": {"coverage": [0.5, 1.0], "risk": [0.0, 0.1]}}
    for key, risk in zip(
        results["final"]["XCL"], ([0.0, 0.2], [0.2, 0.4], [0.1, 0.6]), strict=True
    ):
        results["runs"][key]["risk_coverage"] = {"coverage": [0.5, 1.0], "risk": risk}
    assert "Risk and coverage" in texts(parse(results | risks).iter("h2"))
    teacher, xcl = drawn["risk by coverage, for teacher, XCL"].get_lines()
    np.testing.assert_allclose(teacher.get_ydata(), [0.0, 0.1])
    np.testing.assert_allclose(xcl.get_xydata().T, [[0.5, 1.0], [0.1, 0.4]])

    del results["runs"]["XCL, seed 0"]["suite"], results["runs"]["ERM, seed 0"]["suite"]["aurc"]
    header, row = rows_of(parse(results))[1]
    assert "XCL" not in header and row[:3] == [words, "0.01230", ""]
    assert "Beyond the test scores" not in texts(parse(make()).iter("h2"))


def test_headings_captions_and_pictures_are_for_readers_who_do_not_see_them(undrawn):
    results = suites(make())
    for page in (parse(results), parse({"cells": {"a=1": results, "a=2": results}})):
        levels = [int(e.tag[1]) for e in page.iter() if e.tag in ("h1", "h2", "h3", "h4")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(two - one <= 1 for one, two in itertools.pairwise(levels))
        captions = [texts(table.iter("caption")) for table in page.iter("table")]
        assert all(len(each) == 1 and each[0] for each in captions)
        assert all(image.get("alt") for image in page.iter("img"))
        regions = [e for e in page.iter("div") if e.get("class") == "scrolling"]
        assert all(each.get("tabindex") == "0" and each.get("aria-label") for each in regions)


def test_what_it_comes_from_is_told_or_said_to_be_missing(tmp_path, undrawn):
    results = make()
    old = parse(results)
    assert texts(old.iter("dd")) == ["not recorded"] * 6 and not [*old.iter("details")]
    assert report.message.sentences(results)[0] in " ".join(texts(old.iter("p")))
    # Of a directory of an earlier version there is config.json.
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "config.json").write_text('{"data": {"name": "mine"}}')
    report.rebuild(tmp_path, tmp_path / "other")
    page = ElementTree.parse(tmp_path / "other" / "report.html").getroot()
    assert texts(page.iter("dd"))[:5] == ["not recorded"] * 5
    assert [*texts(page.iter("li"))] == ['data.name = "mine"']
    assert json.loads(texts(page.iter("pre"))[0]) == {"data": {"name": "mine"}}
    about = {"command": "ecl-tf compare", "date": "2026-01-02", "machine": "a", "config": {}}
    data = {"name": "digits", "rows": {"train": 1000}, "hash": "", "classes": 10}
    page = parse(results | {"about": {**about, "versions": {"keras": "3"}, "data": data}})
    told = ["digits; rows: train 1,000; 10 classes", "keras 3", "a", "2026-01-02", "ecl-tf compare"]
    assert texts(page.iter("dd")) == [*told, "not recorded"]


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
MEASURING = """<!DOCTYPE html>
{frames}
<p id="widths"></p>
<script>
onload = () => {{
  const widths = [...document.querySelectorAll("iframe")].map(
    (frame) => frame.contentDocument.documentElement.scrollWidth);
  document.getElementById("widths").textContent = widths.join(" ");
}}
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium or google-chrome.")
def test_pages_fit_a_phone(tmp_path, monkeypatch):
    """In a browser: pages are in frames of 375 pixels, as it has no window that is as narrow."""
    monkeypatch.setattr(figures, "_image", _wide_image)
    name = "a_method_whose_name_is_much_longer_than_a_telephone_is_wide_" * 2
    results = suites(make("rmse", methods=(*METHODS[:4], name), shape=(5,)))
    config = {"data": {"name": name}, name: [name] * 3}
    results["about"] = {"config": config, "command": f"ecl-tf compare --workdir={name}/{name}"}
    dense = suites(make(methods=(*METHODS[:4], name))) | {"gallery": maps(("teacher", name))}
    cells = {"cells": {f"{name}=1": results}}
    pages = [report.page(each, name) for each in (results, cells, dense)]
    assert pages[2].count("answers, and how unsure they are") == 6
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "results.json").write_text(json.dumps(results))
    side_by_side.write([tmp_path / "one", tmp_path / "two"], tmp_path)
    pages.append((tmp_path / "side_by_side.html").read_text())
    too_wide = "<p style='width: 500px; margin: 0'>This one does not.</p>"
    frames = "".join(
        f'<iframe style="width: 375px; border: 0" srcdoc="{html.escape(each)}"></iframe>'
        for each in (*pages, f"<!DOCTYPE html><body style='margin: 0'>{too_wide}")
    )
    (tmp_path / "all.html").write_text(MEASURING.format(frames=frames))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    flags += ["--virtual-time-budget=5000", f"--user-data-dir={tmp_path}/profile"]
    command = [CHROMIUM, *flags, tmp_path / "all.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (found,) = re.findall(r'<p id="widths">([\d ]*)</p>', done.stdout)
    assert found.split() == ["375"] * 4 + ["500"]


def maps(everyone, side=24, classes=6):
    """A gallery of three inputs with an answer, and its entropy, at every position."""
    generator = np.random.default_rng(0)
    shape = 3, side, side
    answers = {
        who: {
            "answer": generator.integers(0, classes, shape).tolist(),
            "spread": generator.uniform(0, np.log(classes), shape).tolist(),
        }
        for who in everyone
    }
    about = {"shape": [side, side, 1], "family": "categorical", "size": classes}
    return about | {"inputs": generator.random((*shape, 1)).tolist(), "maps": answers}


@contextlib.contextmanager
def _wide_image(images, alt, size, kind="svg", count=1):
    """A picture of the size of the largest one, quickly."""
    yield matplotlib.figure.Figure().subplots(1, count)
    svg = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="90"/>')
    images.append({"alt": alt, "src": f"data:image/svg+xml;base64,{svg.decode()}"})


def test_figures_draw_means_over_seeds_and_two_standard_deviations(drawn):
    results = make("rmse")
    figures.learning_curves(results)
    for line in drawn.popitem()[1].get_lines():
        curves = [results["runs"][key]["curve"] for key in results["final"][line.get_label()]]
        values = np.mean([[point["rmse"] for point in curve] for curve in curves], 0)
        np.testing.assert_allclose(line.get_xydata().T, [[10, 20, 30], values])
    figures.one_dimension(results)
    assert [axes.get_title() for axes in drawn.values()] == ["teacher", *METHODS]
    for axes in drawn.values():
        edges = axes.collections[-1].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([edges.min(), edges.max()], [-0.2, 2.2])


def test_reliability_of_all_seeds_by_hand():
    other = {"predicted": [0.52], "observed": [0.7], "weight": [1.0]}  # In the bin of 0.5.
    pooled = diagnostics.pool([CURVE, other], classes=True)
    np.testing.assert_allclose(pooled["predicted"], [0.77 / 1.5, 0.9])
    np.testing.assert_allclose(pooled["observed"], [0.9 / 1.5, 1.0])
    np.testing.assert_allclose(pooled["weight"], [0.75, 0.25])
    levels = [{**CURVE, "predicted": [0.9, 0.95], "observed": o} for o in ([0, 1], [1, 1])]
    np.testing.assert_allclose(diagnostics.pool(levels, classes=False)["observed"], [0.5, 1.0])


def test_a_curve_of_risk_and_coverage_has_50_points():
    # Ten rows of equal spread: all of them have the mean risk of the squared errors, 0 to 81.
    labels, raw = np.arange(10.0)[:, None], np.zeros((10, 2))
    curve = diagnostics.risk_coverage(labels, raw, outputs.Normal(1))
    assert curve["coverage"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    np.testing.assert_allclose(curve["risk"], 28.5)
    # Sure of the first half, which is right, and not of the other one, which is wrong.
    logits = np.repeat([[4.0, 0.0], [1.0, 0.0]], 500, axis=0)
    curve = diagnostics.risk_coverage(np.repeat([0, 1], 500), logits, outputs.Categorical())
    assert len(curve["coverage"]) == 50 and curve["coverage"][-1] == 1.0
    assert curve["risk"][24] == 0.0 and curve["risk"][-1] == 0.5


def test_the_gallery_shows_inputs_and_answers(undrawn):
    results = make(classes=30)
    page = parse(results)
    *_, source = attributes(page, "src")
    decoded = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    shown = matplotlib.image.imread(io.BytesIO(decoded))[..., :1]
    np.testing.assert_allclose(shown, results["gallery"]["inputs"][-1], atol=0.01)
    answers = results["gallery"]["distributions"]
    teacher, xcl = (answers[who]["probabilities"][0] for who in ("teacher", "XCL"))
    best = np.argsort(teacher)[::-1][:10]
    expected = [f"class {c}: {xcl[c]:.3f}, teacher {teacher[c]:.3f}" for c in best]
    assert attributes(page, "title")[40:50] == expected
    words = f"XCL, input 1: class {np.argmax(xcl)} with {max(xcl):.2f}"
    assert words in attributes(page, "aria-label")

    results = make("rmse", shape=(20,))
    header, (numbers, answer, *_), *_ = rows_of(parse(results))[-1]
    assert header == ["input", "teacher", *METHODS]
    values = results["gallery"]["inputs"][0][:12]
    assert numbers == ", ".join(f"{value:.3g}" for value in values) + ", …"
    assert answer.split() == ["0.5", "±", "0.2", "-2", "±", "0.4"]


def test_a_grid_has_an_overview_and_its_cells(drawn, tmp_path):
    pairs = [(size, network) for size in ("1000", "100") for network in ("small", "(8, 8)")]
    found = {f"size={s}, a.network={n}": make(seed=i) for i, (s, n) in enumerate(pairs)}
    unfinished = {"size=5, a.network=small": {"runs": {}}}
    written = report.write({"cells": found | unfinished}, tmp_path)
    assert written == "table.md, report.html" and not (tmp_path / "plot.png").exists()
    page = ElementTree.parse(tmp_path / "report.html")
    assert texts(page.iter("h2")) == ["Overview", *found]
    assert texts(page.iter("li")) == [*found, "size=5, a.network=small: not finished"]
    assert {href[1:] for href in attributes(page, "href")} < set(attributes(page, "id"))

    scores, standard, tuned, *own = (table for table in rows_of(page) if table[0][0] != "input")
    assert scores[0] == ["size", "a.network", "teacher", *METHODS]
    assert [tuple(row[:2]) for row in scores[1:]] == pairs
    assert standard[0][2:] == tuned[0][2:] == ["XCL", "FunMatch"]
    table = (tmp_path / "table.md").read_text()
    assert "## size=5, a.network=small\n\nnot finished\n" in table
    for number, (cell, rows) in enumerate(zip(found.values(), own, strict=True), 1):
        assert rows == markdown_rows(cell) and tables.table(cell).strip() in table
        assert scores[number][2:] == [row[1] for row in rows[1:]]
        assert standard[number][2:] == [row[4] for row in rows[5:]]
        assert tuned[number][2:] == [row[5] for row in rows[5:]]

    label = "Gap closed vs standard KD, % by size, for XCL, FunMatch. a.network="
    axes = drawn[f"{label}(8, 8)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "1000"]
    for value, row in zip(axes.get_lines()[0].get_ydata(), (4, 2), strict=True):
        assert standard[row][2].startswith(f"{value:.0f} %")
    assert axes.get_ylim() == drawn[f"{label}small"].get_ylim()


def test_grids_of_one_cell_of_one_seed_of_names_and_of_other_methods(undrawn):
    results = make(seeds=1)
    for run in results["runs"].values():
        run["test"]["accuracy"] = 0.5
    shown = rows_of(parse({"cells": {"a=1": results}}))
    assert shown[0][0][0] == "a" and "±" not in str(shown)
    assert "to" not in shown[1][1][1] and shown[1][1][1] == "0 %"  # Of one seed: no interval.
    page = parse({"cells": {"a=x": make(), "a=y": make(methods=METHODS[:4])}})
    assert [row[-1] != "" for row in rows_of(page)[0]] == [True, True, False]
    assert not any(" by a" in alt for alt in attributes(page, "alt"))


def test_what_cannot_be_reported_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no results\.json in .*ecl-tf compare"):
        report.rebuild(tmp_path)
    for content in ("", "{}", '{"cells": {"a=1": {"runs": {}}}}'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(ValueError, match=r"(not JSON|unfinished).*ecl-tf compare"):
            report.rebuild(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    for content in ("[]", '{"final": {"kd": {}}, "score": "accuracy"}'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(ValueError, match=r"(holds no results|unfinished).*ecl-tf compare"):
            report.rebuild(tmp_path)


def test_everyone_looks_different_and_always_the_same():
    looks = figures.styles(["teacher", *METHODS, "another"])
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == len(looks)
    assert figures.styles(["FunMatch", "XCL"]) == {n: looks[n] for n in ("FunMatch", "XCL")}


@pytest.mark.slow
def test_a_report_is_made_again_to_the_same_bytes(tmp_path):
    results = make("rmse")
    (tmp_path / "results.json").write_text(json.dumps(results))
    names = report.write(results, tmp_path).split(", ")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    assert report.rebuild(tmp_path) == "table.md, plot.png, report.html"
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_pictures_of_what_is_known():
    results = make("rmse", methods=("XCL",), seeds=1, shape=(3,))
    del results["gallery"]["inputs"][2:]
    found = figures.pictures(results)
    names = ["scores", "learning curves", "reliability", "between the training points"]
    assert list(found) == [*names, "sampled inputs"]
    for picture in found.values():
        assert picture.dtype == np.uint8 and picture.shape[-1] == 3
        assert picture.max() == 255 and picture.min() < 100  # Ink on white.
    of_two = found["sampled inputs"].shape
    images = make(methods=("XCL",))["gallery"]
    del images["inputs"][1:]
    few = {"score": "accuracy", "final": {}, "runs": {}, "gallery": images}
    found = figures.pictures(few)
    assert list(found) == ["sampled inputs"]
    assert found["sampled inputs"].shape[0] < of_two[0]  # One above the other.
