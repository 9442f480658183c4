"""The choice of the most robust candidate."""

import pickle

import numpy as np
import pytest
from probes import ALPHAS, TRAIN, probe
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV

from skbackdoor import most_robust

CHOICES = {
    # accuracy, robustness, drop, index
    "tolerance": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.02, 1),
    "no tolerance": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.0, 0),
    "all within": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.1, 2),
    "edge counts": ([0.3, 0.2, 0.1], [-0.9, -0.1, 0.3], 0.1, 1),
    "tie goes to accuracy": ([0.95, 0.96, 0.97, 0.98], [0.2, 0.5, 0.5, 0.1], 0.05, 2),
    "then to the first": ([0.97, 0.97, 0.98], [0.5, 0.5, 0.1], 0.05, 0),
    "nan accuracy": ([np.nan, 0.9, 0.89], [0.9, 0.1, 0.2], 0.05, 2),
    "nan robustness": ([0.95, 0.9, 0.99], [0.1, 0.2, np.nan], 0.01, 0),
    "one candidate": ([0.5], [-1.0], 0.01, 0),
}


@pytest.mark.parametrize("name", CHOICES)
def test_most_robust(name):
    accuracy, robustness, drop, index = CHOICES[name]
    results = {"mean_test_accuracy": accuracy, "mean_test_robustness": robustness}
    for choose in (most_robust(drop), pickle.loads(pickle.dumps(most_robust(drop)))):
        for as_type in (list, np.array):
            found = choose({key: as_type(value) for key, value in results.items()})
            assert found == index
            assert isinstance(found, (int, np.integer))


def test_most_robust_with_other_names():
    choose = most_robust(0.1, accuracy="acc", robustness="rob")
    results = {"mean_test_acc": [0.9, 0.85], "mean_test_rob": [0.0, 0.5]}
    assert choose(results) == 1
    with pytest.raises(ValueError, match="'accuracy'.*acc.*rob"):
        most_robust()(results)
    assert most_robust.__kwdefaults__ == {"accuracy": "accuracy", "robustness": "robustness"}


def test_most_robust_with_nothing_to_choose():
    with pytest.raises(ValueError, match="error_score='raise'"):
        most_robust()({"mean_test_accuracy": [np.nan], "mean_test_robustness": [0.0]})
    search = GridSearchCV(probe(), ALPHAS, scoring="accuracy", refit=most_robust(), cv=3)
    with pytest.raises(ValueError, match="scoring="):
        search.fit(*TRAIN)


@pytest.mark.parametrize(
    "keywords",
    [{"max_accuracy_drop": -0.1}, {"max_accuracy_drop": 1.1}, {"max_accuracy_drop": "1se"},
     {"accuracy": 1}, {"robustness": None}],
    ids=str,
)  # fmt: skip
def test_bad_most_robust(keywords):
    with pytest.raises((ValueError, TypeError), match=next(iter(keywords))):
        most_robust(**keywords)
