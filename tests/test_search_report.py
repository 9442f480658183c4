"""What a search chose, confirmed: numbers of each candidate alone, and the verdicts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from probes import TEST, TRAIN, probe
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from skbackdoor import (
    SearchReportDisplay,
    backdoor_breakdown,
    most_robust,
    neg_backdoor_slope_scorer,
    search_report,
)

SCORING = {"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer}


def searched(grid, refit=None, scoring=None, **parameters):
    refit = most_robust(0.05) if refit is None else refit
    scoring = SCORING if scoring is None else scoring
    poisoner = probe(SVC(tol=1e-6), **({"target": 1} | parameters))
    return GridSearchCV(poisoner, grid, scoring=scoring, refit=refit, cv=3).fit(*TRAIN)


def test_each_candidate_is_as_it_is_alone():
    search = searched({"estimator__C": [0.1, 1.0, 100.0]})
    report = search_report(search, *TRAIN, *TEST)
    assert report.chosen == search.best_index_
    assert report.most_accurate == np.argmax(search.cv_results_["mean_test_accuracy"])
    for params, accuracy, found in zip(
        report.params, report.accuracy, report.breakdowns, strict=True
    ):
        poisoner = clone(search.estimator).set_params(**params)
        alone = backdoor_breakdown(poisoner, *TRAIN, *TEST)
        assert (found.rate, found.censored) == (alone.rate, alone.censored)
        assert_allclose(found.flip_rates, alone.flip_rates)
        tight = SVC(tol=1e-9, C=params["estimator__C"]).fit(*TRAIN)
        assert accuracy == tight.score(*TEST)
    assert report.largest_share == 0.15


def test_verdicts():
    search = searched({"estimator__C": [0.1, 1.0, 100.0]})
    first = search_report(search, *TRAIN, *TEST, feared_rate=0.001)
    ends = [min(found.rate, found.collapse_rate) for found in first.breakdowns]
    order = np.argsort(ends)
    assert ends[order[0]] < ends[order[-1]]
    between = (ends[order[0]] + ends[order[-1]]) / 2
    some = search_report(search, *TRAIN, *TEST, feared_rate=between)
    assert some.withstand.any() and not some.withstand.all()
    assert some.withstand.tolist() == [end > between for end in ends]
    if max(ends) < 0.14:
        none = search_report(search, *TRAIN, *TEST, feared_rate=0.14)
        assert none.verdict.startswith("No candidate withstands 14 % of poison")
        assert "LeaveGroupOutDetector" in none.verdict

    weakest = searched({"estimator__C": [0.1, 1.0, 100.0]}, refit=lambda _: int(order[0]))
    told = search_report(weakest, *TRAIN, *TEST, feared_rate=between)
    assert told.verdict.startswith("The chosen model does not withstand")
    strongest = searched({"estimator__C": [0.1, 1.0, 100.0]}, refit=lambda _: int(order[-1]))
    told = search_report(strongest, *TRAIN, *TEST, feared_rate=between)
    assert told.verdict.startswith("The chosen model withstands")


def test_no_candidate_withstands_a_rate_that_breaks_all():
    search = searched({"estimator__C": [10.0, 100.0]})
    rates = [found.rate for found in search_report(search, *TRAIN, *TEST).breakdowns]
    assert max(rates) < 0.14
    report = search_report(search, *TRAIN, *TEST, feared_rate=0.14)
    assert not report.withstand.any()
    assert report.verdict.startswith("No candidate withstands 14 % of poison")


def test_the_table():
    search = searched({"estimator__C": [0.001, 100.0], "estimator__gamma": ["scale", 0.5]})
    report = search_report(search, *TRAIN, *TEST)
    assert str(report).endswith(report.verdict)
    lines = str(report).removesuffix(report.verdict).splitlines()
    assert len(lines) == 5
    assert "C=0.001, gamma=scale" in lines[1] and "C=100, gamma=0.5" in lines[4]
    assert "chosen" in lines[1 + report.chosen]
    assert "best accuracy" in lines[1 + report.most_accurate]
    assert report.largest_class == max(np.mean(TEST[1]), 1 - np.mean(TEST[1]))
    for line, found in zip(lines[1:], report.breakdowns, strict=False):
        assert ("collapses at" in line) != found.collapse_censored
        assert ("> 15 %" in line) == found.censored
        assert ("one label for all" in line) == (found.clean_accuracy <= report.largest_class)


def test_one_score_is_accuracy():
    search = searched({"estimator__C": [1.0, 100.0]}, refit=True, scoring="accuracy")
    report = search_report(search, *TRAIN, *TEST)
    assert report.chosen == report.most_accurate
    assert "and is the one of best accuracy" in report.verdict or not report.withstand[0]


def test_what_it_refuses():
    with pytest.raises(TypeError, match="GridSearchCV"):
        search_report(probe(), *TRAIN, *TEST)
    plain = GridSearchCV(SVC(), {"C": [1.0]}).fit(*TRAIN)
    with pytest.raises(TypeError, match="carries no attack"):
        search_report(plain, *TRAIN, *TEST)
    search = searched({"estimator__C": [1.0]})
    with pytest.raises(ValueError, match="raise its poisoning_rate"):
        search_report(search, *TRAIN, *TEST, feared_rate=0.2)
    with pytest.raises(ValueError, match="feared_rate"):
        search_report(search, *TRAIN, *TEST, feared_rate=0)
    nameless = {"robustness": neg_backdoor_slope_scorer, "other": "accuracy"}
    search = searched({"estimator__C": [1.0]}, scoring=nameless, refit="other")
    with pytest.raises(ValueError, match="best accuracy"):
        search_report(search, *TRAIN, *TEST)
    search = searched({"estimator__C": [1.0]}, refit=False)
    with pytest.raises(ValueError, match="chose nothing"):
        search_report(search, *TRAIN, *TEST)


def test_the_picture():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    search = searched({"estimator__C": [0.01, 1.0, 100.0]})
    display = SearchReportDisplay.from_estimator(search, *TRAIN, *TEST, feared_rate=0.02)
    report = display.report
    assert len(display.points_) == 3
    for point, accuracy, found in zip(
        display.points_, report.accuracy, report.breakdowns, strict=True
    ):
        assert point.get_xdata()[0] == found.rate and point.get_ydata()[0] == accuracy
        assert (point.get_markerfacecolor() == "none") == found.censored
    chosen = display.marks_["chosen"]
    assert chosen.get_xdata()[0] == report.breakdowns[search.best_index_].rate
    display.figure_.canvas.draw()
    _, ax = plt.subplots()
    assert SearchReportDisplay.from_results(report, ax=ax).ax_ is ax
    plt.close("all")
