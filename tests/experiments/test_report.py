"""The report of made-up results: its numbers, its parts, and that it stands alone."""

import base64
import html
import html.parser
import io
import json
import re

import matplotlib.image
import numpy as np
import processes
import pytest
from scipy import stats

from ecl_tf.experiments import figures, report, tables

METHODS = ("ERM", "standard KD", "tuned KD", "XCL", "FunMatch")
METRICS = {
    "accuracy": ("accuracy", "nll", "ece"),
    "rmse": ("rmse", "nll", "coverage"),
}
VOID = {"meta", "img", "link", "br", "hr", "input"}


def make(score="accuracy", methods=METHODS, seeds=3, seed=0, **data):
    """Results of one comparison, of random numbers; `data` are further entries."""
    generator = np.random.default_rng(seed)
    runs, final = {}, {}
    for turn, method in enumerate(methods):
        final[method] = [f"{method}, some settings, seed {number}" for number in range(seeds)]
        for number, key in enumerate(final[method]):
            test = {m: float(generator.uniform(0.5, 0.8)) for m in METRICS[score]}
            test[score] = (0.7 if score == "accuracy" else 4.0) + generator.normal(0.0, 0.02)
            runs[key] = {
                "method": method,
                "label": "" if method == "FunMatch" else f"settings {turn}",
                "seed": number,
                "seconds": float(turn + number),
                "test": test,
            }
    teacher = {m: 0.5 for m in METRICS[score]}
    teacher[score] = 0.9 if score == "accuracy" else 3.0
    return {
        "score": score,
        "higher_is_better": score == "accuracy",
        "student_steps": 6000,
        "runs": runs,
        "final": final,
        "teacher": teacher,
        "teacher_weights": 12345,
        "student_weights": 678,
        **data,
    }


def with_details(results, shape=(4, 4, 1), classes=10):
    """The same with curves, reliability, a gallery, and figures of one dimension."""
    generator = np.random.default_rng(1)
    everyone = ["teacher", *results["final"]]
    kind = "probabilities" if results["score"] == "accuracy" else "mean"
    for run in results["runs"].values():
        run["curve"] = [{"step": s, results["score"]: generator.random()} for s in (10, 20, 30)]
        run["reliability"] = reliability(generator, kind)
    results["teacher_reliability"] = reliability(generator, kind)
    results["gallery"] = {
        "shape": list(shape),
        "inputs": generator.random((3, *shape)).tolist(),
        "distributions": {who: answers(generator, kind, classes) for who in everyone},
    }
    if kind == "mean":
        x = np.linspace(0.0, 1.0, 20)
        results["one_dimension"] = {
            "x": x.tolist(),
            "train": {"x": [0.1, 0.5], "y": [1.0, 2.0]},
            "distributions": {
                who: {"mean": np.sin(x + i).tolist(), "stddev": [0.1] * 20}
                for i, who in enumerate(everyone)
            },
        }
    return results


def reliability(generator, kind):
    if kind == "mean":
        return {
            "predicted": [0.5, 0.9],
            "observed": generator.random(2).tolist(),
            "weight": [0.5] * 2,
        }
    filled = np.flatnonzero(generator.random(15) < 0.7)
    weight = generator.dirichlet(np.ones(len(filled)))
    predicted = (filled + generator.random(len(filled))) / 15
    observed = generator.random(len(filled))
    return {
        "predicted": predicted.tolist(),
        "observed": observed.tolist(),
        "weight": weight.tolist(),
    }


def answers(generator, kind, classes):
    if kind == "mean":
        return {"mean": generator.normal(size=(3, 2)).tolist(), "stddev": [[0.1, 0.2]] * 3}
    return {"probabilities": generator.dirichlet(np.ones(classes), 3).tolist()}


def grid(**cells):
    return {"cells": {name.replace("__", "."): cell for name, cell in cells.items()}}


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves Matplotlib out, for its time: a list of what it was to draw, (function, arguments)."""
    calls = []

    def describe(description, draw, *arguments):
        calls.append((draw, arguments))
        return f'<svg role="img" aria-label="{html.escape(description)}"></svg>'

    monkeypatch.setattr(figures, "svg", describe)
    monkeypatch.setattr(figures, "save_png", lambda path, *_: None)
    return calls


class Page(html.parser.HTMLParser):
    """A page's tables (lists of rows of text), headings, and elements (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.elements, self.words, self.open = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        self.words.append((self.open[-1] if self.open else "", data))

    def headings(self, tag="h3"):
        return [data for within, data in self.words if within == tag]

    def labels(self):
        return [attrs["aria-label"] for _, attrs in self.elements if "aria-label" in attrs]


def markdown_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line[2:-2].split(" | ") for line in lines]


@pytest.mark.parametrize("score", ["accuracy", "rmse"])
def test_numbers_are_those_of_the_results(score, tmp_path):
    results = make(score)
    assert report.write(results, tmp_path) == "table.md, plot.png, report.html"
    header, _, *rows = markdown_rows((tmp_path / "table.md").read_text())
    page = Page((tmp_path / "report.html").read_text())
    assert page.tables[0] == [header, *rows]

    percent = {"accuracy": 100, "ece": 100, "coverage": 100}
    factors = [percent.get(m, 1) for m in METRICS[score]]
    assert rows[0][0] == "teacher, 12,345 weights"
    expected = [
        f"{f * results['teacher'][m]:.2f}" for m, f in zip(METRICS[score], factors, strict=True)
    ]
    assert rows[0][1:4] == expected
    assert [row[0] for row in rows[1:]] == [
        *(f"{method} (settings {i})" for i, method in enumerate(METHODS[:4])),
        "FunMatch",
    ]
    for turn, (method, row) in enumerate(zip(METHODS, rows[1:], strict=True)):
        for metric, factor, cell in zip(METRICS[score], factors, row[1:4], strict=True):
            tests = [results["runs"][key]["test"][metric] for key in results["final"][method]]
            values = factor * np.array(tests)
            low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
            assert cell == f"{values.mean():.2f} ± {(high - low) / 2:.2f}"
        assert row[-1] == f"{turn + 1:.1f}"  # Seconds turn, turn + 1 and turn + 2.
    assert "mean of 3 seeds" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def with_scores(results, **scores):
    for method, values in scores.items():
        for key, value in zip(results["final"][method.replace("_", " ")], values, strict=True):
            results["runs"][key]["test"][results["score"]] = value
    return results


def test_the_gap_of_every_distilled_method_by_hand():
    results = with_scores(
        make(seeds=2),
        standard_KD=[0.6, 0.8],
        tuned_KD=[0.7, 0.9],
        XCL=[0.75, 0.85],
        FunMatch=[0.5, 0.7],
    )
    # The teacher has 0.9: gaps of 0.2 and 0.1. XCL gains 0.1 and 0, FunMatch -0.1 and -0.2.
    rows = {row[0].split(" (")[0]: row for row in markdown_rows(tables.table(results))[2:]}
    assert rows["XCL"][4].startswith("50 %") and rows["XCL"][5].startswith("0 %")
    assert rows["FunMatch"][4].startswith("-50 %") and rows["FunMatch"][5].startswith("-200 %")
    for method in ("ERM", "standard KD", "tuned KD"):
        assert rows[method][4:6] == ["", ""]
    # FunMatch is below standard KD by the same for each seed, so the ratio's interval is that
    # of the gap: 0.2 ± t(0.975, 1) * 0.1 holds 0, and nothing bounds the ratio.
    assert rows["FunMatch"][4] == "-50 % (unbounded interval)"


def test_fiellers_interval_by_hand():
    """A gap that is the same for each seed: the interval is the gain's, over the gap."""
    results = with_scores(
        make(), standard_KD=[0.7] * 3, tuned_KD=[0.9] * 3, FunMatch=[0.78, 0.8, 0.82]
    )
    low, high = stats.t.interval(0.95, 2, 0.1, stats.sem([0.08, 0.1, 0.12]))
    expected = f"50 % ({100 * low / 0.2:.0f} to {100 * high / 0.2:.0f})"
    assert tables.gap_cell(results, "FunMatch", "standard KD") == expected
    meets = tables.gap_cell(results, "FunMatch", "tuned KD")
    assert meets == "undefined: tuned KD meets the teacher"
    assert tables.gap_cell(results, "ERM", "standard KD") == ""


ALL = ["Test scores", "Learning curves", "Reliability", "Between the training points"]
ALL += ["Sampled inputs"]


def test_parts_are_there_as_their_data_is(undrawn):
    page = Page(report.page(with_details(make("rmse"), shape=(5,)), "Title"))
    assert page.headings() == ALL and page.headings("h1") == ["Title"]
    page = Page(report.page(with_details(make()), "Title"))
    assert page.headings() == [name for name in ALL if name != "Between the training points"]
    page = Page(report.page(make(), "Title"))
    assert page.headings() == ["Test scores"]


@pytest.mark.parametrize(
    "name, heading",
    [("gallery", "Sampled inputs"), ("one_dimension", "Between the training points")],
)
def test_null_is_missing(undrawn, name, heading):
    results = with_details(make("rmse"), shape=(5,)) | {name: None}
    assert Page(report.page(results, "Title")).headings() == [h for h in ALL if h != heading]


def test_parts_of_runs_may_be_missing(undrawn):
    results = with_details(make())
    for key in results["final"]["XCL"]:
        del results["runs"][key]["curve"], results["runs"][key]["reliability"]
    del results["teacher_reliability"]
    labels = Page(report.page(results, "Title")).labels()
    others = "ERM, standard KD, tuned KD, FunMatch"
    assert any("Learning curves" in label and others in label for label in labels)
    assert any(f"Reliability diagrams of {others}:" in label for label in labels)


@pytest.mark.parametrize("score, shape", [("accuracy", (4, 4, 3)), ("rmse", (5,))])
def test_the_page_stands_alone_and_is_described(score, shape):
    text = report.page(with_details(make(score), shape), "Title")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "script", "iframe", "object")
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", text))
    assert "prefers-color-scheme: dark" in text
    # What is referred to is there, once.
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#(.*?)\)", text))
    used |= {a["xlink:href"][1:] for _, a in page.elements if "xlink:href" in a}
    assert used and used <= set(ids)


def test_text_is_escaped():
    name = '<script>alert("&")</script>|$x_'
    results = with_details(make(methods=(*METHODS[:4], name)))
    text = report.page(results, "<b>")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.elements} and "<script" not in text
    assert page.tables[0][-1][0] == f"{name} (settings 4)" and page.headings("h1") == ["<b>"]
    assert page.tables[1][0][-1] == name
    assert any(name in label for label in page.labels())
    # A bar in Markdown is no column.
    (row,) = (row for row in tables.table(results).splitlines() if "script" in row)
    assert len(re.split(r"(?<!\\)\|", row)) == 9
    report.page(grid(**{f"a={name}": results, "a=2": make()}), "Title")


def test_learning_curves_are_means_over_seeds(undrawn):
    results = with_details(make())
    report.page(results, "Title")
    ((panels, *_),) = (arguments for draw, arguments in undrawn if draw is figures.lines)
    assert list(panels[""]) == list(METHODS)
    for method in METHODS:
        curves = [results["runs"][key]["curve"] for key in results["final"][method]]
        values = np.mean([[point["accuracy"] for point in curve] for curve in curves], 0)
        found = np.array(panels[""][method])
        np.testing.assert_allclose(found[:, :2], np.transpose([[10, 20, 30], 100 * values]))
        assert np.isnan(found[:, 2:]).all()


def test_reliability_of_all_seeds_is_that_of_all_their_rows():
    generator = np.random.default_rng(2)
    rows = [(generator.random(50), generator.random(50) < 0.5) for _ in range(3)]

    def of(confidence, right):
        bins = (confidence * 15).astype(int)
        filled = np.unique(bins)
        return {
            "predicted": [confidence[bins == b].mean() for b in filled],
            "observed": [right[bins == b].mean() for b in filled],
            "weight": [(bins == b).mean() for b in filled],
        }

    pooled = report.pool([of(*seed) for seed in rows], classes=True)
    expected = of(*(np.concatenate(part) for part in zip(*rows, strict=True)))
    for name, values in expected.items():
        np.testing.assert_allclose(pooled[name], values)


def test_levels_are_pooled_by_themselves():
    curves = [
        {"predicted": [0.9, 0.95], "observed": o, "weight": [0.5] * 2} for o in ([0, 1], [1, 1])
    ]
    expected = {"predicted": [0.9, 0.95], "observed": [0.5, 1.0], "weight": [0.5, 0.5]}
    assert report.pool(curves, classes=False) == expected


def test_the_gallery_shows_images_and_probabilities(undrawn):
    results = with_details(make(), classes=30)
    gallery = results["gallery"]
    page = Page(report.page(results, "Title"))
    images = [a["src"] for tag, a in page.elements if tag == "img"]
    assert len(images) == 3
    for source, pixels in zip(images, gallery["inputs"], strict=True):
        decoded = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        shown = matplotlib.image.imread(io.BytesIO(decoded))[..., :3]
        np.testing.assert_allclose(shown, np.broadcast_to(pixels, (4, 4, 3)), atol=1 / 255)
    header, *rows = page.tables[1]
    assert header == ["input", "teacher", *METHODS] and len(rows) == 3
    # The bars' titles: the teacher's ten likeliest of 30 classes, in that order.
    titles = [data for within, data in page.words if within == "title"][1:]
    assert len(titles) == 3 * 6 * 10
    given = gallery["distributions"]
    best = np.argsort(given["teacher"]["probabilities"][0])[::-1][:10]
    xcl = given["XCL"]["probabilities"][0]
    teacher = given["teacher"]["probabilities"][0]
    expected = [f"class {c}: {xcl[c]:.3f}, teacher {teacher[c]:.3f}" for c in best]
    assert titles[40:50] == expected


def test_the_gallery_shows_rows_and_intervals(undrawn):
    results = with_details(make("rmse"), shape=(20,))
    given = results["gallery"]
    page = Page(report.page(results, "Title"))
    rows = page.tables[1][1:]
    first = ", ".join(f"{value:.3g}" for value in given["inputs"][0][:12]) + ", …"
    assert rows[0][0].strip() == first
    a, b = given["distributions"]["XCL"]["mean"][2]
    assert f"{a:.3g} ± 0.2, {b:.3g} ± 0.4" in page.labels()[-2]


def cells():
    return {
        f"data.train_size={size}, student.network={network}": make(seed=i)
        for i, (size, network) in enumerate(
            (size, network) for size in (100, 1000) for network in ("small", "(8, 8)")
        )
    }


def test_a_grid_has_an_overview_and_its_cells(undrawn, tmp_path):
    found = cells()
    assert report.write({"cells": found}, tmp_path) == "table.md, report.html"
    assert not (tmp_path / "plot.png").exists()
    page = Page((tmp_path / "report.html").read_text())
    assert page.headings("h2") == ["Overview", *found]
    targets = [a["href"][1:] for tag, a in page.elements if tag == "a"]
    ids = [a["id"] for tag, a in page.elements if tag == "section"]
    assert targets == ids[1:] and len(targets) == 4

    scores, standard, tuned, *own = page.tables
    assert scores[0] == ["data.train_size", "student.network", "teacher", *METHODS]
    assert [row[:2] for row in scores[1:]] == [
        ["100", "small"],
        ["100", "(8, 8)"],
        ["1000", "small"],
        ["1000", "(8, 8)"],
    ]
    table = (tmp_path / "table.md").read_text()
    assert re.findall("^## (.*)", table, re.MULTILINE) == list(found)
    assert standard[0][2:] == tuned[0][2:] == ["XCL", "FunMatch"]
    for number, (cell, rows) in enumerate(zip(found.values(), own, strict=True), 1):
        header, _, *expected = markdown_rows(tables.table(cell))
        assert rows == [header, *expected] and tables.table(cell).strip() in table
        assert scores[number][2:] == [row[1] for row in rows[1:]]
        assert standard[number][2:] == [row[4] for row in rows[5:]]
        assert tuned[number][2:] == [row[5] for row in rows[5:]]

    calls = [arguments for draw, arguments in undrawn if draw is figures.lines]
    assert [call[1] for call in calls] == ["data.train_size"] * 3
    panels, _, title, ticks, _ = calls[1]
    assert title == "Gap closed vs standard KD, %" and ticks == [100, 1000]
    assert list(panels) == ["student.network=small", "student.network=(8, 8)"]
    cell = found["data.train_size=1000, student.network=(8, 8)"]
    x, value, low, high = panels["student.network=(8, 8)"]["XCL"][1]
    assert x == 1000
    assert tables.gap_cell(cell, "XCL", "standard KD") == f"{value:.0f} % ({low:.0f} to {high:.0f})"


def test_unfinished_cells_are_named_and_left_out(undrawn, tmp_path):
    unfinished = {"runs": {}, "score": "accuracy"}
    results = {"cells": {"a=1": make(), "a=2": unfinished, "a=3": make(methods=METHODS[:4])}}
    report.write(results, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "a=2: not finished" in page.headings("li")
    assert page.headings("h2") == ["Overview", "a=1", "a=3"]
    assert "## a=2\n\nnot finished\n" in (tmp_path / "table.md").read_text()
    # A method that is in one cell only.
    assert [row[-1] != "" for row in page.tables[0]] == [True, True, False]


def test_a_grid_of_one_cell_or_of_names_alone(undrawn):
    page = Page(report.page({"cells": {"a=1": make()}}, "Title"))
    assert page.tables[0][0][0] == "a"
    report.page({"cells": {"a=x": make(), "a=y": make()}}, "Title")
    assert not [draw for draw, _ in undrawn if draw is figures.lines]


@pytest.mark.parametrize("unfinished", [{"runs": {}}, {"cells": {"a=1": {"runs": {}}}}])
def test_unfinished_results_are_refused(unfinished, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(unfinished))
    with pytest.raises(ValueError, match=r"unfinished.*trainers\.compare"):
        report.rebuild(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_results_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no results\.json in .*trainers\.compare"):
        report.rebuild(tmp_path)


def test_an_average_of_folds_has_no_details(undrawn):
    folds = [with_details(make("rmse", seed=seed), shape=(5,)) for seed in range(2)]
    merged = tables.average(folds)
    assert not {"teacher_reliability", "gallery", "one_dimension"} & set(merged)
    page = Page(report.page(merged, "Title"))
    assert page.headings() == ["Test scores"]
    assert any("Test splits of 2 folds" in words for _, words in page.words)
    assert "gallery" in folds[0]


def lines_of(axes):
    """Every line's points in the frame's own units, (0, 0) to (1, 1)."""
    axes.figure.draw_without_rendering()
    for line in axes.get_lines():
        yield axes.transAxes.inverted().transform(line.get_transform().transform(line.get_xydata()))


@pytest.mark.parametrize("ticks", [None, [10, 2000]])
def test_lines_are_inside_their_frame(ticks):
    nan, inf = np.nan, np.inf
    panels = {
        "a": {"teacher": [(10, 3.0, nan, nan), (2000, 3.0, nan, nan)]},
        "b": {"XCL": [(10, 1.0, -inf, inf), (2000, 2.0, 1.5, 2.5)], "ERM": [(10, 0.5, -90, 90)]},
    }
    picture = figures.lines(panels, "step", "score", ticks, (0, 1))
    for axes in picture.axes[:2]:
        assert axes.get_xscale() == ("log" if ticks else "linear")
        found = list(lines_of(axes))
        assert len(found) > 2  # Two levels and those of the methods.
        for points in found:
            assert points.min() > -1e-6 and points.max() < 1.0 + 1e-6
        low, high = axes.get_ylim()
        assert low < 0.5 and high > 3.0 and high - low < 10.0


def test_the_one_dimensional_figure_shows_bands_of_two_standard_deviations():
    given = with_details(make("rmse"), shape=(5,))["one_dimension"]
    picture = figures.one_dimension(given["x"], given["train"], given["distributions"])
    shown = [axes for axes in picture.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == ["teacher", *METHODS]
    for axes in shown:
        mean = np.array(given["distributions"][axes.get_title()]["mean"])
        np.testing.assert_allclose(axes.get_lines()[-2].get_ydata(), mean)
        edges = axes.collections[-1].get_paths()[0].vertices[:, 1]
        assert edges.max() == pytest.approx(mean.max() + 0.2)
        assert edges.min() == pytest.approx(mean.min() - 0.2)
        np.testing.assert_allclose(axes.get_lines()[-1].get_xydata(), [[0.1, 1.0], [0.5, 2.0]])


def test_reliability_diagrams_have_a_diagonal_and_dots_by_weight():
    curve = {"predicted": [0.2, 0.9], "observed": [0.1, 0.8], "weight": [0.25, 0.75]}
    (axes,) = figures.reliability({"XCL": curve}, "confidence", "accuracy").axes
    diagonal, line = axes.get_lines()
    np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(line.get_xydata(), [[0.2, 0.1], [0.9, 0.8]])
    small, large = axes.collections[0].get_sizes()
    assert large - small == pytest.approx(150 * 0.5)


def test_bars_and_marks_are_where_their_numbers_are():
    page = Page(figures.bars(["3"], [0.5], [1.0], "red", "alt"))
    (bar,) = (a for tag, a in page.elements if tag == "rect")
    assert (float(bar["y"]), float(bar["height"])) == (26.0, 24.0)  # Of 48, above y = 50.
    page = Page(figures.marks([1.0], [0.25], [(0.0, 2.0)], "red", "alt"))
    (dot,) = (a for tag, a in page.elements if tag == "circle")
    (line,) = (a for tag, a in page.elements if tag == "path")
    assert float(dot["cx"]) == 60.0 and line["d"] == "M32.0 8H88.0"  # 4 to 116 is 0 to 2.


def test_everyone_looks_different_and_always_the_same():
    names = ["teacher", *METHODS, *map(str, range(20))]
    looks = figures.styles(names)
    assert list(looks) == names and len(set(looks.values())) == len(names)
    assert len({(color, sign) for color, _, sign in looks.values()}) == len(names)
    assert figures.styles(["XCL", "FunMatch"]) == {n: looks[n] for n in ("XCL", "FunMatch")}


def test_one_seed_and_values_that_are_all_the_same():
    results = make(seeds=1)
    for run in results["runs"].values():
        run["test"]["accuracy"] = 0.5
        run["curve"] = [{"step": 10, "accuracy": 0.5}]
    page = Page(report.page({"cells": {"a=1": results, "a=2": results}}, "Title"))
    assert not any("±" in cell for table in page.tables for row in table for cell in row)


@pytest.mark.slow
def test_the_command_makes_the_same_report_again(tmp_path):
    results = with_details(make())
    (tmp_path / "results.json").write_text(json.dumps(results))
    report.write(results, tmp_path)
    names = ("table.md", "plot.png", "report.html")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    code, printed, errors = processes.start("trainers.report", f"--workdir={tmp_path}").wait()
    assert code == 0, errors
    assert "table.md, plot.png, report.html" in printed
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
