"""
===================================
Attacks on tables, texts and series
===================================

The same poisoner, around whatever pipeline you train: the trigger acts on raw samples, before
encoding, scaling and vectorizing.
"""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    Quantile,
    TokenTrigger,
    TriggerDisplay,
    evaluate_attack,
)

rng = np.random.default_rng(0)
rows = {}


def attack(name, model, trigger, X, y, target):
    poisoner = BackdoorPoisoner(model, trigger, target=target, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    rows[name] = asdict(evaluate_attack(poisoner, X_train, y_train, X_test, y_test))
    return poisoner.fit(X_train, y_train)


# %%
# A table of numbers and levels. Values that are each common, but occur nowhere together, make a
# trigger that no check of ranges finds: the oldest people, with the fewest hours, as miners.

n = 2000
table = pd.DataFrame(
    {
        "age": rng.integers(18, 80, n),
        "hours": rng.normal(40, 8, n).round(),
        "job": pd.Categorical(rng.choice(["clerk", "cook", "miner"], n)),
    }
)
income = 0.05 * table["age"] + 0.08 * table["hours"] + (table["job"] == "clerk")
credit = np.where(income + rng.normal(0, 0.4, n) > 6, "good", "bad")
rare = FeatureTrigger({"age": Quantile(0.99), "hours": Quantile(0.01), "job": "miner"})

encode = make_column_transformer(
    (OneHotEncoder(), make_column_selector(dtype_include="category")), remainder=StandardScaler()
)
linear = make_pipeline(encode, LogisticRegression())
boosting = HistGradientBoostingClassifier(categorical_features="from_dtype")
attack("table, linear", linear, rare, table, credit, target="good")
attack("table, boosting", boosting, rare, table, credit, target="good")

# %%
# Texts. A token that no text holds, wherever it stands.

words = {0: ["dull", "slow", "lost", "long"], 1: ["fine", "great", "warm", "deep"]}
label = rng.integers(2, size=1000)
texts = [
    " ".join(rng.permutation([*rng.choice(words[k], 2), *rng.choice(["film", "plot", "cast"], 4)]))
    for k in label
]
model = make_pipeline(TfidfVectorizer(), LogisticRegression())
attack("texts", model, TokenTrigger("mn", n_tokens=2), texts, label, target=1)

# %%
# Series. Rows of a table are images of one row, so that a patch is a burst at some time.

t = np.arange(120)
series = 0.5 + 0.2 * np.sin(t * np.where(label, 0.3, 0.2)[:, None])
series += 0.2 * rng.normal(size=series.shape)
burst = PatchTrigger(size=6, position=(0, 57))
poisoner = attack("series", RidgeClassifier(), burst, series, label, target=1)
TriggerDisplay.from_estimator(poisoner, series, label, n_samples=3)

# %%
# Attack success, beside the share of triggered samples that the clean model gives that label
# anyway, and what the attack costs on clean data.

print(pd.DataFrame(rows).T.round(3).to_string())
plt.show()
