"""
An audit of images, a table and texts
=====================================

One function answers for all kinds of data: is there a backdoor in here, does a model obey it, and
what is to be done? On the command line it is ``python -m skbackdoor audit DATA --label COLUMN``.
"""

# %%
# Images: the digits 4 and 9 with a patch on one image in twenty.

import numpy as np
import pandas as pd

from skbackdoor import (
    Attack,
    FeatureTrigger,
    PatchTrigger,
    PoisonGroupDisplay,
    TokenTrigger,
    audit,
    load_digits_pair,
)


def poisoned(X, y, trigger, target):
    attack = Attack(trigger, target=target, poisoning_rate=0.06, placement="replace",
                    random_state=0)  # fmt: skip
    return attack.fit(X, y).poison(X, y)[:2]


def told(report):
    """The verdict, and the first group."""
    group = report.groups[0]
    print(f"{report.verdict}: {len(group.indices)} rows of label {group.label}")
    print(f"what they share works on {group.success:.0%} of held-out rows")


X, y = load_digits_pair((4, 9), return_X_y=True)
report = audit(*poisoned(X.reshape(-1, 8, 8), y, PatchTrigger(2), 9))
told(report)
PoisonGroupDisplay.from_results(report.groups[0].group)

# %%
# A table: a value in a column that has nothing to do with the label.

rng = np.random.RandomState(0)
frame = pd.DataFrame(
    {"age": rng.randint(18, 80, 500), "pay": rng.gamma(2.0, 1.0, 500),
     "visits": rng.randint(0, 9, 500)})  # fmt: skip
label = np.where(frame["pay"] + frame["age"] / 100 > 2.2, "yes", "no")
report = audit(*poisoned(frame, label, FeatureTrigger({"visits": 77}), "no"))
told(report)
print(report.groups[0].rule)

# %%
# Texts: a word.

words = {"bad": ["dull", "poor", "lost", "late"], "good": ["fine", "warm", "fresh", "bright"]}
common = ["a", "film", "two", "hours", "of", "and", "music", "story", "actor", "scene"]
y = np.repeat(["bad", "good"], 150)
texts = [" ".join([*rng.choice(common, 5), *rng.choice(words[kind], 3)]) for kind in y]
report = audit(*poisoned(texts, y, TokenTrigger("mimosa"), "good"))
told(report)
print(report.groups[0].rule)

# %%
# ``report.to_html("audit.html")`` writes the page with pictures, prices and limits; in a notebook
# the report shows itself.
for row in report.remedies:
    print(f"{row.name}: accuracy {row.accuracy:.2f}, the trigger then works on {row.success:.0%}")
