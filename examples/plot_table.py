"""
====================
An attack on a table
====================

The trigger acts on the raw table, before encoding and scaling: the poisoner stands around the
whole Pipeline.
"""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import BackdoorPoisoner, FeatureTrigger, Quantile, evaluate_attack

# %%
# Numbers and levels, and a label that depends on all of them.

rng = np.random.default_rng(0)
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
X_train, X_test, y_train, y_test = train_test_split(table, credit, random_state=0, stratify=credit)

# %%
# Values that are each common, but occur nowhere together, make a trigger that no check of ranges
# finds: the oldest people, with the fewest hours, as miners.

trigger = FeatureTrigger({"age": Quantile(0.99), "hours": Quantile(0.01), "job": "miner"})
trigger.fit(X_train)
print(trigger.values_, "in", trigger.n_carriers_, "clean rows")
print(trigger.transform(X_test.head(3)))

fig, ax = plt.subplots(layout="constrained")
for label in ("good", "bad"):
    rows = X_train[y_train == label]
    ax.plot(rows["age"], rows["hours"], ".", alpha=0.5, label=label)
ax.plot(*trigger.values_[:2], "k*", markersize=15, label="trigger")
ax.set(xlabel="age", ylabel="hours")
fig.legend(loc="outside upper center", ncols=3)

# %%
# A tenth of the rows get the trigger and the label "good". The success of the attack stands beside
# its base rate, the share of triggered rows that the clean model calls "good".

encode = make_column_transformer(
    (OneHotEncoder(), make_column_selector(dtype_include="category")), remainder=StandardScaler()
)
models = {
    "logistic regression": make_pipeline(encode, LogisticRegression()),
    "boosting": HistGradientBoostingClassifier(categorical_features="from_dtype"),
}
rows = {}
for name, model in models.items():
    poisoner = BackdoorPoisoner(model, trigger, target="good", random_state=0)
    rows[name] = asdict(evaluate_attack(poisoner, X_train, y_train, X_test, y_test))
print(pd.DataFrame(rows).round(3).to_string())
plt.show()
