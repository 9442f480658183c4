"""Where groups are sought: sets of rows of one label, or of all, that may be a backdoor.

Nothing here decides. Each kind of candidates sees something that the others miss:

- Ward trees on the principal components of the rows (triggers that are a large part of a row);
- Ward trees on *content residuals*, rows minus the mean of their nearest rows in the class that
  the fit without the label gives them (small triggers among varied content);
- Ward trees on the leading eigenvectors of the *support graph*, how strongly rows of the label
  support each other in the fit, and sweeps along each of them;
- the rows that look most like ordinary members of other classes (rows with another's content);
- over all labels at once, Ward trees on content residuals (attacks on all classes, which leave few
  rows in each).
"""

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import ward_tree
from sklearn.decomposition import PCA

#: Shares of the rows of a label at which an ordering of them is cut.
SHARES = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
#: Largest share of the rows of a label that a candidate may be.
LARGEST = 0.7
#: Largest share of all rows that a candidate of several labels may be.
LARGEST_POOLED = 0.25
#: Principal components on which rows are clustered, and eigenvectors of the support graph.
N_COMPONENTS, N_EIGENVECTORS = 30, 8
#: Rows whose mean stands for the content of a row.
N_NEIGHBORS = 5


def candidates(ridge, X, K, label, smallest, random_state):
    """Sets of rows of one label, by kind.

    Parameters
    ----------
    ridge : LeaveGroupOutRidge
        On all rows.
    X : ndarray of shape (n, n_features)
        Their representation.
    K : ndarray of shape (n, n)
        Their kernel matrix.
    label : int
        Label index.
    smallest : int
        Least rows of a candidate.
    random_state : RandomState
        For the principal components.

    Returns
    -------
    kinds : dict of str to list of ndarray
        Row indices, sorted.
    """
    rows = np.flatnonzero(ridge.y == label)
    residual, typical = residuals(ridge, X, K, rows)
    vectors, largest = support_vectors(ridge, rows), LARGEST * len(rows)
    kinds = {
        "components": tree_nodes(components(X[rows], random_state), smallest, largest),
        "residuals": tree_nodes(components(residual, random_state), smallest, largest),
        "support": tree_nodes(vectors / vectors.std(axis=0), smallest, largest),
        "sweeps": [
            part
            for vector in vectors.T
            for order in (np.argsort(vector), np.argsort(-vector))
            for part in prefixes(order, smallest)
        ],
        "typical": prefixes(np.argsort(-typical), smallest),
    }
    return {kind: [rows[part] for part in parts] for kind, parts in kinds.items()}


def pooled_candidates(ridge, X, K, labels, smallest, within, random_state):
    """Sets of rows of several labels: those with alike content residuals.

    An attack on all classes puts the same trigger on rows of each, of which one label alone may
    hold too few to be seen. Directions in which rows of one class differ anyway are made to count
    less, each divided by the root of its standard deviation there (`within`).

    Returns
    -------
    sets : list of ndarray
        Row indices, sorted.
    """
    parts = [np.flatnonzero(ridge.y == label) for label in labels]
    residual = np.concatenate([residuals(ridge, X, K, rows)[0] for rows in parts])
    rows = np.concatenate(parts)
    residual = within.half_whitened(residual)
    nodes = tree_nodes(components(residual, random_state), smallest, LARGEST_POOLED * len(rows))
    return [np.sort(rows[node]) for node in nodes]


def residuals(ridge, X, K, rows):
    """What rows of a label are beyond their content, and how typical they are of that.

    Returns
    -------
    residual : ndarray of shape (n_rows, n_features)
        Rows minus the mean of their nearest rows in the class that the fit without them all finds
        likest.
    typical : ndarray of shape (n_rows,)
        The score of that class.
    """
    content, typical = contents(ridge, rows)
    return X[rows] - X[nearest_content(K, ridge.y, rows, content)].mean(axis=1), typical


def contents(ridge, rows):
    """The other class that the fit without some rows finds likest, and its score."""
    scores = ridge.without(rows)
    content = best_other(ridge, scores, rows)
    return content, scores[np.arange(len(rows)), content]


def best_other(ridge, scores, rows):
    """The label with the highest score but that of each row, and those that no row of the fit has.

    Their scores become -inf.
    """
    scores[:, np.bincount(ridge.y, minlength=scores.shape[1]) == 0] = -np.inf
    scores[np.arange(len(rows)), ridge.y[rows]] = -np.inf
    return scores.argmax(axis=1)


def nearest_content(K, y, rows, content):
    """The rows of its content class that are nearest to each row, by the kernel.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Kernel matrix of all rows.
    y : ndarray of shape (n,)
        Label indices.
    rows, content : ndarrays of shape (n_rows,)
        Some rows, and the label indices that they are taken for; the rows themselves are not
        among those that are found.

    Returns
    -------
    near : ndarray of shape (n_rows, n_neighbors)
        Where a class has too few other rows, some stand twice.
    """
    near = np.empty((len(rows), N_NEIGHBORS), dtype=int)
    others = np.ones(len(y), dtype=bool)
    others[rows] = False
    for s in np.unique(content):
        of_class = np.flatnonzero(others & (y == s))
        here = content == s
        distance = K[of_class, of_class] - 2.0 * K[np.ix_(rows[here], of_class)]
        near[here] = of_class[nearest(distance)]
    return near


def nearest(distances):
    """Columns of the least distances of each row, shape (n_rows, n_neighbors).

    Where there are too few columns, some stand twice.
    """
    n_columns = distances.shape[1]
    k = min(N_NEIGHBORS, n_columns)
    order = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return order[:, np.arange(N_NEIGHBORS) % k]


def components(X, random_state):
    """Leading principal components of some rows."""
    n_components = min(N_COMPONENTS, X.shape[1], len(X) - 1)
    pca = PCA(n_components, svd_solver="randomized", random_state=random_state)
    return pca.fit_transform(X)


def support_vectors(ridge, rows):
    """Leading eigenvectors of the support graph on some rows, shape (len(rows), n_vectors).

    Rows j and k support each other by max(0, -A_jk / sqrt(A_jj A_kk)).
    """
    root = np.sqrt(ridge.diagonal[rows])
    graph = np.maximum(-ridge.inverse[np.ix_(rows, rows)] / root / root[:, None], 0.0)
    np.fill_diagonal(graph, 0.0)
    degree = np.sqrt(graph.sum(axis=1) + 1e-9)
    n = len(rows)
    first = max(n - N_EIGENVECTORS - 1, 0)
    _, vectors = eigh(graph / degree / degree[:, None], subset_by_index=(first, n - 1))
    vectors = vectors[:, :-1] / degree[:, None]  # the last is the same for all rows
    return vectors[:, vectors.std(axis=0) > 0]


def tree_nodes(X, smallest, largest):
    """The clusters at all levels of a Ward tree, of these sizes, as sorted positions."""
    children, _, n, _ = ward_tree(X)[:4]
    members = [np.array([i]) for i in range(n)]
    for a, b in children:
        members.append(np.concatenate([members[a], members[b]]))
    return [np.sort(part) for part in members[n:] if smallest <= len(part) <= largest]


def prefixes(order, smallest):
    """The first rows of an ordering, cut at each of `SHARES`."""
    lengths = {max(smallest, int(share * len(order))) for share in SHARES}
    return [
        np.sort(order[:length]) for length in sorted(lengths) if length <= LARGEST * len(order)
    ]
