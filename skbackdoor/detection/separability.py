"""Whether rows are told from others: no attacker who draws his victims at random leaves a sign."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

#: Principal components by which rows are told, and folds.
N_COMPONENTS, N_FOLDS = 30, 5
#: Other rows for each member, at most, and rows of a class below which it is left out.
TIMES, LEAST = 10, 10


def separability(X, members, others, y, content, random_state):
    """How well some rows are told from others of the classes they are taken for, left out.

    The area under the ROC curve of a logistic regression on principal components,
    cross-validated: 0.5 for rows drawn at random, whatever they are; natural groups have a kind.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        All rows, without what the members share.
    members, others : ndarray of int
        Row indices.
    y : ndarray of shape (n,)
        Label indices.
    content : ndarray of shape (len(members),)
        Label indices that the members are taken for: others are drawn in these shares.
    random_state : int
        For components, draws and folds.

    Returns
    -------
    area : float
        Its standard error is about 0.4 over the root of the number of members. nan where either
        side has fewer than ten rows.
    """
    draw, drawn = np.random.RandomState(random_state), []
    classes, counts = np.unique(content, return_counts=True)
    of_class = [others[y[others] == s] for s in classes]
    many = counts >= counts.max() / TIMES
    times = min((len(of_class[k]) / counts[k] for k in np.flatnonzero(many)), default=0.0)
    for rows, count in zip(of_class, counts, strict=True):
        n = min(round(min(times, TIMES) * count), len(rows))
        drawn.append(draw.choice(rows, n, replace=False))
    drawn = np.concatenate(drawn)
    if min(len(members), len(drawn)) < LEAST:
        return np.nan
    pca = PCA(min(N_COMPONENTS, *X.shape), svd_solver="randomized", random_state=random_state)
    along = pca.fit_transform(X)[np.concatenate([members, drawn])]
    is_member = np.arange(len(along)) < len(members)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=random_state)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))
    scores = cross_val_predict(model, along, is_member, cv=folds, method="decision_function")
    return float(roc_auc_score(is_member, scores))
