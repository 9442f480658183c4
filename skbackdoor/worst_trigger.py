r"""The trigger of a given size that a linear model takes in fastest.

With z = [x, 1], :math:`g = \ell'(f)` and the Hessian H of the clean fit the derivative of the
learning curve (Cinà et al. 2024, eq. 4) is

.. math:: \frac{dL}{d\beta} = -v^T H^{-1} u, \quad v = \frac1T \sum_t g_t z_t, \quad
          u = \sum_p s_p g_p z_p

over triggered test samples t and poisoned samples p. It is exact for every candidate column and
place, at one solve for all of them. Of a shift :math:`\delta` that is added to all samples it is
a quadratic function while the g stay, whose largest value on a sphere is found from one
eigendecomposition. From there it is improved with the g as they change.
"""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from scipy.optimize import brentq, minimize

from ._compat import _safe_indexing
from .attack_path import attack_path
from .checks import check_is_poisoner
from .learners import label_index
from .paths.linear import LinearOptimum
from .paths.linear.design import DesignMatrix
from .paths.threads import one_blas_thread
from .triggers import FeatureTrigger, MaskTrigger, PatchTrigger
from .triggers.layout import layout_of


def worst_trigger(
    poisoner,
    X_train,
    y_train,
    X_test,
    y_test,
    *,
    kind="direction",
    size=1.0,
    image_shape=None,
    value_range=None,
):
    """The trigger of a given size that a linear model takes in fastest: largest theta.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on a linear learner (`RidgeClassifier`, `LogisticRegression`, `LinearSVC` with
        squared hinge) without preprocessing; it is cloned. Victims and labels are its own, its
        trigger has no part.
    X_train : array-like of shape (n_train, n_features)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, n_features)
        Clean test data.
    y_test : array-like of shape (n_test,)
        Clean labels.
    kind : {"direction", "columns", "patch"}, default="direction"
        "direction": something is added to every sample. "columns": some columns are set to one
        of two values. "patch": a square of pixels is set to one of two values.
    size : float or int, default=1.0
        The Euclidean length of what is added; the number of columns; the side of the square.
    image_shape : tuple of int, default=None
        Of "patch": (height, width) or (channels, height, width) of the images.
    value_range : tuple of two numbers, default=None
        The two values; None is (0, 1) for "patch", and for "columns" the smallest and the
        largest value of each column. "direction" does not clip.

    Returns
    -------
    trigger : MaskTrigger, FeatureTrigger or PatchTrigger
        Not fitted; a trigger like any other.

    Raises
    ------
    ValueError
        A learner that is not linear or has preprocessing, a size that does not fit.

    Notes
    -----
    "patch", and "columns" with one column, are the largest theta over all candidates, exactly.
    Several columns are taken one after the other, each the best beside those before. A direction
    is the best of several local maxima.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_learning_slope, load_digits_pair,
    ...     worst_trigger)
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> data = [train_test_split(X, y, random_state=0)[i] for i in (0, 2, 1, 3)]
    >>> poisoner = BackdoorPoisoner(
    ...     LogisticRegression(), PatchTrigger(2, image_shape=(8, 8)), target=9, random_state=0)
    >>> worst = worst_trigger(poisoner, *data, kind="patch", size=2, image_shape=(8, 8))
    >>> thetas = [
    ...     backdoor_learning_slope(poisoner.set_params(trigger=trigger), *data).theta
    ...     for trigger in (poisoner.trigger, worst)]
    >>> bool(thetas[1] > thetas[0])
    True
    """
    check_is_poisoner(poisoner, "worst_trigger")
    if kind not in ("direction", "columns", "patch"):
        raise ValueError(f"kind={kind!r} must be 'direction', 'columns' or 'patch'.")
    if np.ndim(X_train) != 2 and not sp.issparse(X_train):
        raise ValueError("worst_trigger takes rows of features; flatten images, give image_shape.")
    influence = _Influence(poisoner, X_train, y_train, X_test, y_test)
    with one_blas_thread(influence.clean):
        if kind == "direction":
            return influence.direction(size)
        if kind == "columns":
            return influence.columns(size, value_range, X_train)
        return influence.patch(size, image_shape, (0, 1) if value_range is None else value_range)


class _Samples:
    """Untriggered samples of one side, test or poison, with the attacker's labels.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Rows, centred as the problem has them.
    y, weight : ndarrays of shape (n,)
        Label indices, and what the samples weigh.
    loss : object
        A smooth loss of :mod:`skbackdoor.paths.losses`.
    W : ndarray of shape (n_outputs, n_parameters)
        The clean fit.
    fit_intercept : bool
        Whether its last parameter is an intercept.
    """

    def __init__(self, X, y, weight, loss, W, fit_intercept):
        self.X, self.y, self.weight, self.loss = X, y, weight, loss
        self.design = DesignMatrix(X, fit_intercept)
        self.F = self.design.product(W)

    def curved(self, F, dF):
        """How g changes at decision values F as these move by dF."""
        return self.weight[:, None] * self.loss.hessian_product(self.loss.curvature(F, self.y), dF)

    def gradient(self, F):
        """g, shape (n, n_outputs)."""
        return self.weight[:, None] * self.loss.gradient(F, self.y)

    def sum(self, dF):
        """g, where decision values have moved by dF, and its product with Z, untriggered."""
        g = self.gradient(self.F + dF)
        return g, self.design.adjoint(g)


class _Influence:
    """How the derivative of the learning curve depends on the trigger."""

    def __init__(self, poisoner, X_train, y_train, X_test, y_test):
        probe, path = attack_path(poisoner, X_train, y_train)
        optimum = path.polished if path.method == "implicit" else None
        if not isinstance(optimum, LinearOptimum) or path.preparation.transform is not None:
            raise ValueError(
                "worst_trigger is for linear learners with a smooth loss, without preprocessing"
                " (RidgeClassifier, LogisticRegression, LinearSVC with squared hinge), not for"
                f" {poisoner.estimator!r}. For others take the worst of a trigger_family."
            )
        self.optimum, self.W, self.clean = optimum, optimum.W, path.rows.clean.X
        problem = optimum.problem
        sources, _, labels, _ = probe.attack_.sources_and_triggered(X_test, y_test)
        labels = label_index(labels, path.rows.classes)
        victims = _safe_indexing(probe.attack_.given_rows()[0], probe.poisoned_indices_)
        sides = (
            (sources, path.loss, labels, np.full(len(labels), 1.0 / len(labels))),
            (victims, problem.loss, problem.poison.y, problem.poison.weight),
        )
        self.test, self.poison = (
            _Samples(
                _dense(problem.centring(path.prepare(X))),
                y,
                weight,
                loss,
                self.W,
                problem.fit_intercept,
            )
            for X, loss, y, weight in sides
        )
        n_features = self.test.X.shape[1]
        #: Coefficients, shape (n_outputs, n_features), and what rows are centred at.
        self.coef, self.mean = self.W[:, :n_features], problem.centring.mean
        if self.mean is None:
            self.mean = np.zeros(n_features)

    def derivatives(self, sums):
        """dL / d beta of candidates: of pairs (v, u) of shape (n_outputs, n_parameters)."""
        v, u = (np.stack(side) for side in zip(*sums, strict=True))
        return -np.sum(v * self.optimum.solve(u), axis=(1, 2))

    # -- values set in some columns -------------------------------------------------------------

    def _set(self, columns, values, start):
        """v and u with some columns set to values; `start` are the samples of both sides."""
        found = []
        for side, X in zip((self.test, self.poison), start, strict=True):
            step = values - X[:, columns]
            dF = step @ self.coef[:, columns].T
            if X is not side.X:
                dF += (X - side.X) @ self.coef.T
            g, total = side.sum(dF)
            if X is not side.X:
                total[:, : X.shape[1]] += g.T @ (X - side.X)
            total[:, columns] += g.T @ step
            found.append(total)
        return tuple(found)

    def columns(self, size, value_range, X_train):
        n_features = self.test.X.shape[1]
        if not (isinstance(size, Integral) and 1 <= size <= n_features):
            raise ValueError(f"size={size!r} must be a number of columns, 1 to {n_features}.")
        X = _dense(self.clean)
        if value_range is None:
            ends = np.stack([X.min(axis=0), X.max(axis=0)])
        else:
            ends = np.repeat(np.asarray(value_range, float)[:, None], n_features, axis=1)
        start, chosen = [self.test.X, self.poison.X], {}
        for _ in range(size):
            left = [j for j in range(n_features) if j not in chosen]
            tried = [(j, end) for j in left for end in (0, 1)]
            best = self._best(
                self._set(np.array([j]), ends[end, j] - self.mean[j], start) for j, end in tried
            )
            j, end = tried[best]
            chosen[j] = ends[end, j]
            start = [side.copy() for side in start]
            for side in start:
                side[:, j] = ends[end, j] - self.mean[j]
        names = list(getattr(X_train, "columns", range(n_features)))
        return FeatureTrigger({names[j]: float(value) for j, value in chosen.items()})

    def patch(self, size, image_shape, value_range):
        n_features = self.test.X.shape[1]
        if image_shape is None:
            raise ValueError("kind='patch' needs image_shape=(height, width), or with channels.")
        channels, height, width = layout_of(self.test.X, image_shape)
        if not (isinstance(size, Integral) and 1 <= size <= min(height, width)):
            raise ValueError(f"size={size!r} must be a side of 1 to {min(height, width)} pixels.")
        pixels = np.arange(n_features).reshape(channels, height, width)
        start = self.test.X, self.poison.X
        tried = [
            (row, column, value)
            for row in range(height - size + 1)
            for column in range(width - size + 1)
            for value in value_range
        ]

        def sums():
            for row, column, value in tried:
                inside = pixels[:, row : row + size, column : column + size].ravel()
                yield self._set(inside, value - self.mean[inside], start)

        row, column, value = tried[self._best(sums())]
        return PatchTrigger(
            size,
            position=(row, column),
            value=value,
            image_shape=image_shape,
            value_range=tuple(value_range),
        )

    def _best(self, sums):
        """The position of the candidate whose derivative is lowest, that of the largest theta."""
        found, block = [], []
        for pair in sums:
            block.append(pair)
            if len(block) == 512:
                found.append(self.derivatives(block))
                block = []
        if block:
            found.append(self.derivatives(block))
        return int(np.concatenate(found).argmin())

    # -- something added to every sample --------------------------------------------------------

    def _shifted(self, delta):
        """v and u, and the sums of g on both sides, with delta added to every sample."""
        found = []
        for side in (self.test, self.poison):
            g, total = side.sum(delta @ self.coef.T)
            found.append((total, g.sum(axis=0)))
        return found

    def _derivative(self, delta):
        """dL / d beta and its gradient in delta."""
        n, moved = len(delta), []
        for total, sums in self._shifted(delta):
            total = total.copy()
            total[:, :n] += np.outer(sums, delta)
            moved.append(total)
        v, u = moved
        solved_v, solved_u = self.optimum.solve(np.stack(moved))
        gradient = np.zeros(n)
        for side, B in ((self.test, solved_u), (self.poison, solved_v)):
            F = side.F + delta @ self.coef.T
            along = side.design.product(B) + B[:, :n] @ delta
            bends = side.curved(F, along).sum(axis=0)
            gradient -= bends @ self.coef + side.gradient(F).sum(axis=0) @ B[:, :n]
        return -np.sum(v * solved_u), gradient

    def direction(self, size):
        if not (isinstance(size, Real) and size > 0):
            raise ValueError(f"size={size!r} must be a length above 0.")
        n_features = self.coef.shape[1]
        points = [np.zeros(n_features)]
        for row in self.coef:  # towards either side of the model
            length = np.linalg.norm(row)
            points += [sign * size * row / length for sign in (1, -1) if length > 0]
        starts = [self._best_at(point, size) for point in points]

        def on_sphere(x):
            length = np.linalg.norm(x)
            unit = x / length
            value, gradient = self._derivative(size * unit)
            return value, size / length * (gradient - (gradient @ unit) * unit)

        found = [
            minimize(on_sphere, start / size, jac=True, method="L-BFGS-B")
            for start in (*starts, *points[1:])
        ]
        best = min(found, key=lambda result: result.fun).x
        edge = 10.0 * (np.abs(_dense(self.clean)).max() + size)
        return MaskTrigger(0.0, size * best / np.linalg.norm(best), value_range=(-edge, edge))

    def _best_at(self, delta, size):
        """The shift of this length that is best while all g are those at delta."""
        (v, a), (u, c) = self._shifted(delta)
        n = len(delta)
        # -(v + a delta)^T H^-1 (u + c delta) = -(delta^T Q delta + q^T delta + ...)
        eye = np.zeros((n, *self.W.shape))
        eye[np.arange(n), :, np.arange(n)] = c
        solved = self.optimum.solve(eye)[:, :, :n]  # H^-1 (c e_j)
        Q = np.einsum("k,jki->ij", a, solved)
        solved_v, solved_u = self.optimum.solve(np.stack([v, u]))
        q = c @ solved_v[:, :n] + a @ solved_u[:, :n]
        return largest_on_sphere((Q + Q.T) / 2, q, size)


def largest_on_sphere(Q, q, size):
    r"""The d of length `size` with the largest :math:`d^T Q d + q^T d`.

    With the eigenvalues of Q it is :math:`d = (\mu I - Q)^{-1} q / 2` for the one
    :math:`\mu \ge \lambda_{max}` at which it has that length.

    Parameters
    ----------
    Q : ndarray of shape (n, n)
        Symmetric.
    q : ndarray of shape (n,)
    size : float
        Above 0.

    Returns
    -------
    d : ndarray of shape (n,)
    """
    values, vectors = np.linalg.eigh(Q)
    along = vectors.T @ q / 2.0
    top = values[-1]
    spread = max(top - values[0], np.abs(along).max(initial=0.0) / size, 1e-300)

    def length(gap):
        return np.linalg.norm(along / (gap + (top - values)))

    least = 1e-13 * spread
    if length(least) <= size:  # q has hardly a part in the top direction: it fills the rest
        d = along / (least + (top - values))
        rest = np.sqrt(max(size**2 - d @ d, 0.0))
        d[-1] += np.copysign(rest, along[-1] if along[-1] else 1.0)
        d *= size / np.linalg.norm(d)
        return vectors @ d
    gap = brentq(lambda gap: length(gap) - size, least, 2 * np.linalg.norm(along) / size + spread)
    d = along / (gap + (top - values))
    return vectors @ (d * (size / np.linalg.norm(d)))


def _dense(X):
    return X.toarray() if sp.issparse(X) else X
