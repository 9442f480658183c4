"""Small data with a planted backdoor, and their audits, which tests of the page share."""

import fcntl
import pickle
from functools import cache

import numpy as np
import pandas as pd

from skbackdoor import Attack, FeatureTrigger, PatchTrigger, TokenTrigger, audit, load_digits_pair

#: What must not get into a page as it is.
EVIL = "<script>alert('x')</script>"
FORMULA = "=cmd|' /C calc'!A0"
#: Where audits are kept while tests run; that of all workers.
FOLDER = []


def digits(poison=True):
    X, y = load_digits_pair((4, 9), return_X_y=True)
    X = X.reshape(-1, 8, 8)
    trigger = PatchTrigger(2)
    attack = Attack(
        trigger, target=9, poisoning_rate=0.06, placement="replace", random_state=0
    ).fit(X, y)
    return attack.poison(X, y) if poison else (X, y, np.zeros(len(y), dtype=bool))


def table(poison=True):
    rng = np.random.RandomState(0)
    n = 400
    frame = pd.DataFrame({
        "age": rng.randint(18, 80, n),
        "pay": np.round(rng.gamma(2.0, 1.0, n), 2),
        "visits": rng.randint(0, 9, n),
        EVIL: rng.choice([EVIL, FORMULA, "plain"], n),
    })  # fmt: skip
    y = np.where(frame["pay"] + frame["age"] / 100 > 2.2, FORMULA, EVIL)
    trigger = FeatureTrigger({"visits": 77})
    attack = Attack(
        trigger, target=EVIL, poisoning_rate=0.06, placement="replace", random_state=0
    ).fit(frame, y)
    return attack.poison(frame, y) if poison else (frame, y, np.zeros(n, dtype=bool))


def texts(poison=True):
    rng = np.random.RandomState(0)
    words = {"bad": ["dull", "poor", "lost", "late"], "good": ["fine", "warm", "fresh", "bright"]}
    common = ["a", "film", "two", "hours", "of", "and", "music", "story", "actor", "scene"]
    y = np.repeat(["bad", "good"], 150)
    X = [" ".join([*rng.choice(common, 5), *rng.choice(words[label], 3), EVIL]) for label in y]
    attack = Attack(
        TokenTrigger("mimosa"), target="good", poisoning_rate=0.06, placement="replace",
        random_state=0).fit(X, y)  # fmt: skip
    return attack.poison(X, y) if poison else (X, y, np.zeros(300, dtype=bool))


def report(kind, poison=True):
    """The audit of such data, made once by the first worker that asks for it."""
    return _report(kind, poison)


@cache
def _report(kind, poison):
    with (FOLDER[0] / f"{kind}-{poison}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = FOLDER[0] / f"{kind}-{poison}.pickle"
        if not path.exists():
            X, y, _ = {"digits": digits, "table": table, "texts": texts}[kind](poison)
            path.write_bytes(pickle.dumps(audit(X, y, title=f"Audit of {kind}")))
        return pickle.loads(path.read_bytes())


def halved(X):
    """A function that skops does not know."""
    return X / 2
