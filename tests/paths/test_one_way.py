"""The poison weight goes through the rooms of the package one way, down and then up."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

import skbackdoor
from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    backdoor_learning_curve,
    load_digits_pair,
    weight_path,
)

ROOT = Path(skbackdoor.__file__).parent
WEIGHTS = [0.314159, 0.692317]  # no other number that is handed on is one of these
LEARNERS = [
    SVC(C=3),  # at C = 1 a dual coefficient may be the weight
    SVC(kernel="linear", C=3),
    LinearSVC(loss="hinge", C=3, max_iter=100_000),
    LinearSVC(),
    LogisticRegression(),
    RidgeClassifier(),
    GaussianNB(var_smoothing=0.01),  # refits
]


def room_of(filename):
    """The file, or the folder of `paths` that it stands in: hinge machines are one room."""
    parts = Path(filename).relative_to(ROOT).with_suffix("").parts
    return "/".join(parts[:2] if parts[0] == "paths" else parts)


def holds_weight(value):
    """Whether it is a weight, a few of them, or an array with one."""
    if isinstance(value, list):
        return any(isinstance(item, float) and item in WEIGHTS for item in value)
    return isinstance(value, (float, np.ndarray)) and bool(np.isin(value, WEIGHTS).any())


def stays(function):
    """The rooms in which the weight is handed in, as it passes from one to another.

    Returns
    -------
    stays : list of str
        One for each time that a room is entered from another, in order.
    returns : list of str
        Those entered while the weight was there already, further up the stack of calls.
    """
    stack, entered, returns = [], [], []

    def profile(frame, event, arg):
        if event == "return" and stack:
            stack.pop()
        if event != "call":
            return
        code, room = frame.f_code, None
        if code.co_filename.startswith(f"{ROOT}/"):
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(holds_weight(frame.f_locals[name]) for name in names):
                room = room_of(code.co_filename)
        above = [r for r in stack if r is not None]
        if room is not None and above[-1:] != [room]:
            entered.append(room)
            if room in above:
                returns.append(room)
        stack.append(room)

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return entered, returns


def training_rows():
    data = load_digits_pair()
    return data.data, data.target, np.arange(len(data.target)) % 20 == 0


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: f"{learner}"[:40])
def test_weight_visits_each_room_once(learner):
    path = weight_path(learner, *training_rows())
    entered, returns = stays(lambda: path.solve(WEIGHTS))
    assert entered[0] == "paths/base" and "paths/solutions" in entered
    assert not returns
    assert len(entered) == len(set(entered)), entered


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: f"{learner}"[:40])
def test_weight_of_a_curve_never_goes_back_up(learner):
    X, y, _ = training_rows()
    poisoner = BackdoorPoisoner(
        learner, PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0
    )
    data = X[::2], y[::2], X[1::2], y[1::2]
    entered, returns = stays(
        lambda: backdoor_learning_curve(poisoner, *data, poison_weights=WEIGHTS)
    )
    assert {"curve", "paths/base", "paths/solutions"} <= set(entered)
    assert not returns


def test_a_call_back_is_seen(monkeypatch):
    path = weight_path(RidgeClassifier(), *training_rows())
    once = type(path)._solve

    def twice(self, weights, n_jobs=None):
        monkeypatch.undo()
        path.solve(weights)
        return once(path, weights)

    monkeypatch.setattr(type(path), "_solve", twice)
    entered, _ = stays(lambda: path.solve(WEIGHTS))
    assert len(entered) > len(set(entered))
