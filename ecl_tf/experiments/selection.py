"""The choice among settings on validation data, the final runs, and the test scores."""

import itertools
import pathlib
import statistics
from typing import Any

from ecl_tf.experiments import (
    jobs,
    methods,
    other_data,
    progress,
    quality,
    refusals,
    settings,
    stores,
    strategies,
    teaching,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.experiments.runs import Runs


def settings_of(experiment):
    """The settings to choose from, a list for each tuned method, and the others.

    Which further ones KD is tuned over depends on the best temperature; here it is the first.
    """
    temperatures = methods.kd_temperatures(experiment)
    kd = [*temperatures, *methods.kd_beside(experiment, temperatures[0])]
    xcl = methods.xcl_settings(experiment)
    to_tune, fixed = [methods.erm_settings(experiment), kd], [methods.standard_kd(experiment)]
    if len(xcl) > 1:
        to_tune.append(xcl)
    else:
        fixed += xcl
    fixed += methods.others(experiment)
    if experiment.config.oracle:
        fixed.append(methods.oracle(experiment))
    return to_tune, fixed


def seeds(config: settings.Settings) -> tuple[range, range]:
    """The seeds for tuning and, apart from them, for the final runs."""
    first = config.seed + config.tuning_seeds
    return range(config.seed, first), range(first, first + config.seeds)


def compare(
    experiment: Experiment,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    home: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Runs the comparison, or what is left of it; returns the results.

    Args:
        workdir: where results and students go.
        home: where the teacher and its stored answers go; None, the default, for `workdir`.
    """
    (results,) = finish([start(experiment, workdir, teacher_directory, home)])
    return results


def start(experiment, workdir, teacher_directory=None, home=None, name=""):
    """The teacher, and the `Runs` of its students, of which none is trained yet."""
    require_validation_data(experiment)
    other_data.require_same_rows(experiment, workdir)
    home = home or workdir
    teacher = teaching.train_teacher(experiment, home, teacher_directory)
    stored = stores.Stores(experiment, teacher, home / "stores")
    to_tune, fixed = settings_of(experiment)
    tuning_seeds, final_seeds = seeds(experiment.config)
    total = len(tuning_seeds) * sum(map(len, to_tune))
    total += len(to_tune + fixed) * len(final_seeds)
    runs = Runs(experiment, teacher, stored, workdir, total, name)
    runs.teacher_quality()
    return runs


def finish(together):
    """Chooses for one experiment, or for all splits at once; runs the rest; returns all results.

    Over the splits a choice has many validation rows and several trainings to go by. A row that
    one split tests is another's validation row, which can favour methods with many settings only:
    the baselines.
    """
    # All choices are made on validation data.
    erm = choose(together, methods.erm_settings)
    for runs, chosen in zip(together, erm, strict=True):
        tuning_seeds, _ = seeds(runs.experiment.config)
        of_erm = [runs.results["runs"][chosen.key(seed)]["validation"] for seed in tuning_seeds]
        mean = statistics.fmean(scores[runs.experiment.score_name] for scores in of_erm)
        quality.against_erm(runs.experiment, runs.teacher_quality()["validation"], mean)
    chosen = [erm, choose(together, methods.kd_temperatures, methods.kd_beside)]
    if len(methods.xcl_settings(together[0].experiment)) > 1:
        chosen.append(choose(together, methods.xcl_settings))
    finals = []
    for runs, own_erm, *tuned in zip(together, *chosen, strict=True):
        _, (standard_kd, *others) = settings_of(runs.experiment)
        finals.append([own_erm, standard_kd, *tuned, *others])
    tried = methods.xcl_settings(together[0].experiment)
    label_weight = max(setting.arguments["label_weight"] for setting in tried)
    remedy = "Try --config.xcl.label_weight=0.3, or add it to config.xcl.choices."
    methods.tell_of_labels(label_weight, remedy)
    last = [
        (runs, setting, seed)
        for runs, final in zip(together, finals, strict=True)
        for setting, seed in itertools.product(final, seeds(runs.experiment.config)[1])
    ]
    _complete(run for run in last if not run[1].same_as)
    _complete(run for run in last if run[1].same_as)  # Once the other one is there.
    for runs, final in zip(together, finals, strict=True):
        runs.read_test(final, seeds(runs.experiment.config)[1])
    return [runs.results for runs in together]


def _complete(found):
    """Has (runs, setting, seed) trained, by this process or by others."""
    jobs.complete([runs.job(setting, seed) for runs, setting, seed in found])


def choose(together, tried, beside=None):
    """The setting with the best mean score on validation data, then the best NLL.

    Args:
        together: the `Runs` that share the choice.
        tried: a function of an experiment to its settings, as many for each.
        beside: None, the default, or a function of an experiment and its best setting to others
            that are tried after it.

    Returns:
        The chosen setting of each of `together`.
    """
    experiments = [runs.experiment for runs in together]

    def runs_of(settings):
        for runs, setting in zip(together, settings, strict=True):
            for seed in seeds(runs.experiment.config)[0]:
                yield runs, setting, seed

    def rank(settings):
        results = [
            runs.run(setting, seed)["validation"] for runs, setting, seed in runs_of(settings)
        ]
        score = sum(result[experiments[0].score_name] for result in results)
        score = -score if experiments[0].higher_is_better else score
        return score, sum(result["nll"] for result in results)

    def best(candidates):
        _complete(run for settings in candidates for run in runs_of(settings))
        ranks = [rank(settings) for settings in candidates]
        return candidates[strategies.of_chief(ranks.index(min(ranks)))]

    chosen = best([*zip(*map(tried, experiments), strict=True)])
    if beside:
        chosen = best([chosen, *zip(*map(beside, experiments, chosen), strict=True)])
    progress.announce(f"Chosen for {chosen[0].method} on validation data: {chosen[0].label}")
    return chosen


def require_validation_data(experiment):
    """Raises ValueError if the data has no validation split."""
    asker = "`ecl-tf compare` makes its choices on validation data"
    refusals.require_validation(experiment.splits, asker)
