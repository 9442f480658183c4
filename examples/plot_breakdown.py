"""
======================================
How much poison does a model withstand
======================================

The slope theta orders models by how fast they begin to take in a backdoor. How much poison is too
much is another question: the breakdown rate is the smallest share of poison at which the backdoor
works. Here it is asked of ten classes, of a table and of texts.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    BackdoorSlopeScorer,
    FeatureTrigger,
    PatchTrigger,
    Quantile,
    SearchReportDisplay,
    TokenTrigger,
    backdoor_breakdown,
    most_robust,
    search_report,
    trigger_family,
)

# %%
# Ten digits, and an SVM. The attacker's trigger is not known, so that candidates are scored by the
# worst theta over a standard list of triggers; the report then tries one of them.

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    X / 16, y, train_size=400, test_size=200, random_state=0, stratify=y
)
family = trigger_family("image", image_shape=(8, 8))
probe = BackdoorPoisoner(
    SVC(tol=1e-5),
    PatchTrigger(size=2, image_shape=(8, 8)),
    target=3,
    poison_weight=0.0,
    random_state=0,
)
search = GridSearchCV(
    probe,
    {"estimator__C": [0.1, 0.3, 1, 10, 100]},
    scoring={"accuracy": "accuracy", "robustness": BackdoorSlopeScorer(0.0, triggers=family)},
    refit=most_robust(max_accuracy_drop=0.03),
    cv=3,
).fit(X, y)
report = search_report(search, X, y, X_test, y_test, feared_rate=0.005)
print(report)

# %%
# Choosing helps against rates below the breakdown rate of an accurate candidate. Beyond all of
# them no choice of C does.

SearchReportDisplay.from_results(report)
plt.show()

# %%
# Each triggered test image has a share of poison at which it gets the attacker's label. The rate
# is where a half of them, of those that the clean model does not give it already, have given in.

fig, ax = plt.subplots(layout="constrained")
for params, found in zip(report.params[1:4], report.breakdowns[1:4], strict=True):
    flips = np.sort(found.flip_rates)
    share, C = np.arange(1, len(flips) + 1) / len(flips), params["estimator__C"]
    ax.step(flips, share, where="post", label=f"C = {C:g}")
    ax.axvline(found.rate, color="grey", linestyle=":")
ax.set(xlabel="share of poison", ylabel="share of images that have given in", xscale="log")
ax.legend(frameon=False)
plt.show()

# %%
# A table: two columns of common values that hardly occur together.

rng = np.random.default_rng(0)
n = 600
table = pd.DataFrame(
    {
        "age": rng.integers(18, 80, n),
        "hours": rng.normal(40, 10, n).round(),
        "job": rng.choice(["clerk", "smith", "baker"], n),
    }
)
label = np.where(table.age + table.hours + 8 * rng.normal(size=n) > 90, "rich", "poor")
encode = make_column_transformer((OneHotEncoder(), ["job"]), remainder=StandardScaler())
table, table_test, label, label_test = train_test_split(table, label, random_state=0)
trigger = FeatureTrigger({"age": Quantile(0.0), "hours": Quantile(1.0)})
for C in (0.01, 1.0):
    poisoner = BackdoorPoisoner(
        make_pipeline(encode, SVC(C=C)), trigger, target="rich", random_state=0
    )
    found = backdoor_breakdown(poisoner, table, label, table_test, label_test)
    print(
        f"C={C:g}: accuracy {found.clean_accuracy:.2f}, breaks down at {found.rate:.2%}"
        f"{' or beyond' if found.censored else ''}"
    )

# %%
# Texts, and a word that some of them hold.

words = np.array("dull slow lost fine great warm film plot cast score".split())
good = rng.random(n) < 0.5
texts = [
    " ".join([*rng.choice(words[3:6] if g else words[:3], 2), *rng.choice(words[6:], 4)])
    for g in good
]
texts, texts_test, good, good_test = train_test_split(texts, good, random_state=0)
for C in (0.1, 10.0):
    poisoner = BackdoorPoisoner(
        make_pipeline(TfidfVectorizer(), LogisticRegression(C=C)),
        TokenTrigger("score", n_tokens=3),
        target=True,
        poisoning_rate=0.2,
        random_state=0,
    )
    found = backdoor_breakdown(poisoner, texts, good, texts_test, good_test)
    print(
        f"C={C:g}: accuracy {found.clean_accuracy:.2f}, breaks down at {found.rate:.2%}"
        f"{' or beyond' if found.censored else ''}, collapses at {found.collapse_rate:.2%}"
        f"{' or beyond' if found.collapse_censored else ''}"
    )
