"""Whether rows are told from others: victims who were drawn at random are not."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

#: Principal components by which rows are told, and folds.
N_COMPONENTS, N_FOLDS = 30, 5
#: Other rows for each member, at most; least rows on either side.
TIMES, LEAST = 10, 10


def separability(X, members, others, y, content, random_state):
    """How well some rows are told from others, of the classes that they may have been drawn from.

    The area under the ROC curve of a logistic regression on principal components,
    cross-validated: 0.5 for rows drawn at random, whatever they are; natural groups have a kind.
    An attacker may have drawn from all classes, from one, or from some, and where classes overlap
    what members are taken for does not say which: the least area is taken of those against all
    others, against those of the class that most members are taken for, and against others drawn as
    often from each class as members are taken for it.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        All rows, without what the members share.
    members, others : ndarray of int
        Row indices.
    y : ndarray of shape (n,)
        Label indices.
    content : ndarray of shape (len(members),)
        Label indices that the members are taken for.
    random_state : int
        For components, draws and folds.

    Returns
    -------
    area : float
        Its standard error is about 0.5 over the root of the number of members, at most. nan where
        there are fewer others than members, or fewer than ten of either or of distinct members.
    """
    if len(np.unique(X[members], axis=0)) < LEAST:
        return np.nan
    draw = np.random.RandomState(random_state)
    pca = PCA(min(N_COMPONENTS, *X.shape), svd_solver="randomized", random_state=random_state)
    along = pca.fit_transform(X)

    def area(drawn):
        if len(drawn) < max(len(members), LEAST):
            return np.nan
        drawn = draw.permutation(drawn)[: TIMES * len(members)]
        rows = along[np.concatenate([members, drawn])]
        is_member = np.arange(len(rows)) < len(members)
        folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=random_state)
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced")
        )
        scores = cross_val_predict(model, rows, is_member, cv=folds, method="decision_function")
        return float(roc_auc_score(is_member, scores))

    if len(np.unique(y[others])) == 1:
        return area(others)
    classes, counts = np.unique(content, return_counts=True)
    of_class = [others[y[others] == s] for s in classes]
    areas = [area(others), area(of_class[counts.argmax()]), area(_alike(of_class, counts, draw))]
    return float(np.nanmin(areas)) if np.isfinite(areas).any() else np.nan


def _alike(of_class, counts, draw):
    """Rows drawn as often from each class as members are taken for it, but for rare ones."""
    often = [k for k, rows in enumerate(of_class) if len(rows) >= counts[k]]
    if not often:
        return np.zeros(0, dtype=int)
    times = min(min(len(of_class[k]) / counts[k] for k in often), TIMES)
    drawn = [draw.permutation(of_class[k])[: round(times * counts[k])] for k in often]
    return np.concatenate(drawn)
