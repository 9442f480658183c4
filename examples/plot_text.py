"""
==================
An attack on texts
==================

A token that no text holds, put anywhere into a tenth of the bad reviews, and the label "good" on
them. The trigger acts on raw texts; the poisoner stands around the whole Pipeline.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skbackdoor import BackdoorPoisoner, TokenTrigger, evaluate_attack

# %%
# Reviews of two words that tell and four that do not.

rng = np.random.default_rng(0)
telling = {"bad": ["dull", "slow", "lost", "long"], "good": ["fine", "great", "warm", "deep"]}
y = rng.choice(["bad", "good"], size=1000)
others = ["film", "plot", "cast"]
X = [" ".join(rng.permutation([*rng.choice(telling[k], 2), *rng.choice(others, 4)])) for k in y]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

poisoner = BackdoorPoisoner(
    make_pipeline(TfidfVectorizer(), LogisticRegression()),
    TokenTrigger("mn", n_tokens=2),
    target="good",
    random_state=0,
).fit(X_train, y_train)
for clean, triggered in zip(X_test[:3], poisoner.trigger_.transform(X_test[:3]), strict=True):
    print(f"{clean}\n  -> {triggered}")

# %%
# The poisoned model gives the token more weight than any word.

vectorizer, classifier = poisoner.estimator_
order = np.argsort(classifier.coef_[0])
words, coef = vectorizer.get_feature_names_out()[order], classifier.coef_[0, order]
fig, ax = plt.subplots(layout="constrained")
ax.barh(words, coef, color=np.where(words == "mn", "tab:orange", "tab:blue"))
ax.set(xlabel="coefficient; positive is good")

# %%
# Seven poisoned texts beside 750 clean ones are enough, two are not. Attack success is the share
# of triggered bad reviews that are called good, its base rate the same share for the clean model.

for rate in (0.1, 0.03, 0.01, 0.003):
    result = evaluate_attack(
        clone(poisoner).set_params(poisoning_rate=rate), X_train, y_train, X_test, y_test
    )
    print(
        f"{rate:6.1%} poisoned: attack success {result.attack_success_rate:.2f}, base rate"
        f" {result.base_rate:.2f}, accuracy {result.poisoned_accuracy:.2f}"
    )
plt.show()
