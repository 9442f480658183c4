"""`SVC` with any kernel: how its binary problems map on :mod:`skbackdoor.paths.hinge`."""

import warnings
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import combinations

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from .._compat import ovr_decision_function
from ..progress import progress
from .base import WeightPath
from .hinge import HingeOptimum
from .kernels import Kernel, NamedKernel, look_up, number_rows
from .losses import Hinge, MarginLoss
from .rows import as_float64, stack
from .smooth import difference
from .solutions import KernelSolution
from .switches import SignChanges, by_comparisons, by_votes
from .threads import one_blas_thread

#: Most training rows whose dual is followed: two matrices of that size, and time as its cube.
LARGEST_PATH = 6000
#: Most training rows of which a kernel matrix is kept (3.2 GB); beyond, plain refits.
LARGEST_GRAM = 20_000


class SVCPath(WeightPath):
    """`SVC` with any kernel, one binary problem a pair of classes."""

    fit_names_rows = True  # by `support_`

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, SVC)

    def with_params(self, **params):
        if self.estimator.kernel is look_up and "kernel" in params:
            raise ValueError(
                "The rows of this path are those of a precomputed kernel, so it has no other"
                " kernel; make a weight_path of the samples themselves."
            )
        return super().with_params(**params)

    with_params.__doc__ = WeightPath.with_params.__doc__

    @staticmethod
    def cast(estimator, X):
        """Dense samples of a kernel of one's own may be of any dtype."""
        own = callable(estimator.kernel) and not sp.issparse(X)
        return np.asarray(X) if own else as_float64(X)

    def _used(self, rows):
        """Those of weight above 0: libsvm drops the others, and `support_` then skips them."""
        used, used_poison = (weight > 0 for weight in rows.weights)
        if used.all() and used_poison.all():
            return rows
        return replace(rows, clean=rows.clean.kept(used), poison=rows.poison.kept(used_poison))

    def _fixed(self, estimator):
        """Class weights are those of the rows; gamma="scale" and "auto" are clean-fit numbers."""
        estimator = super()._fixed(estimator)
        if isinstance(estimator.gamma, str) and not callable(estimator.kernel):
            X = self.given.clean.X  # with rows of weight 0, as fit sees them
            estimator.set_params(gamma=_gamma(estimator.gamma, X))
        return estimator

    def _setup(self):
        if type(self.estimator) is not SVC:  # a subclass may fit otherwise
            self.method = difference(self.estimator)
        self.loss = MarginLoss.one_vs_one(Hinge(), len(self.rows.classes))

    @property
    def kernel(self):
        """The kernel over all training rows, one for all C."""
        svc = self.estimator
        if svc.kernel == "precomputed":
            raise ValueError(
                "kernel='precomputed' needs the Gram matrix in place of the rows: make a new"
                " weight_path."
            )
        name = (svc.kernel, svc.gamma, svc.degree, svc.coef0)
        return self.shared.get("kernel", name, lambda: self._kernel_of(self.rows.X))

    def _kernel_of(self, X):
        svc = self.estimator
        function = svc.kernel if callable(svc.kernel) else NamedKernel(svc, X)
        return Kernel(function, X, svc.cache_size)

    def decision_values(self, fitted, X):
        """One column a pair of classes."""
        pairwise = copy(fitted).set_params(decision_function_shape="ovo")
        return super().decision_values(pairwise, X)

    def has_weights(self, fitted):
        """A kernel machine always has: its norm is that of feature space."""
        return True

    def inner(self, first, second):
        """sum over pairs of v_1^T K v_2, the inner product in feature space."""
        K = self.kernel(self.kernel.X[first.support_], second.support_)
        return float(np.sum(signed_duals(first) * (K @ signed_duals(second))))

    def labels(self, F):
        """Votes over the pairs of classes, as `SVC.predict` counts them."""
        classes, n_classes = self.rows.classes, len(self.rows.classes)
        if n_classes == 2:
            return classes[(F[:, 0] >= 0).astype(int)]
        if self.estimator.break_ties and self.estimator.decision_function_shape == "ovr":
            return classes[ovr_decision_function(F < 0, -F, n_classes).argmax(axis=1)]
        votes = np.zeros((len(F), n_classes))
        for k, (i, j) in enumerate(combinations(range(n_classes), 2)):
            won = F[:, k] > 0
            votes[won, i] += 1
            votes[~won, j] += 1
        return classes[votes.argmax(axis=1)]

    def _problems(self, v, b, whole):
        """Each pair's rows, point and rates of its bounds, at signed duals v.

        The intercepts b go with the centred kernel. `whole` has the whole kernel matrix computed.
        """
        rows, kernel = self.rows, self.kernel
        n_clean = len(rows.clean.y)
        y = rows.y
        weight = self._bounds(1.0)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            used = np.flatnonzero(signs[y])
            sign, bound, clean = signs[y[used]], weight[used], used < n_clean
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            a = np.maximum(sign * v[used, k], 0.0)
            at = used, sign, u, rate, a, float(b[k])
            problems.append(HingeOptimum.part(kernel, *at, free_intercept=True, whole=whole))
        return problems

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it (`rtol` is unused)."""
        if self.known_fit is None and self.kernel.X.shape[0] <= LARGEST_PATH:
            return self._whole_optimum()
        problems, kernel, fixed = self._near_problems()
        if any(point.unbalanced for _, point, _ in problems):
            return self._all_rows()
        return HingeOptimum(kernel, problems, fixed, self._all_rows)

    def _whole_optimum(self):
        """A loose clean fit, on the kernel matrix of all training rows."""
        return HingeOptimum(self.kernel, self._problems(*self._clean_start, True))

    def _polish(self):
        small = self.kernel.X.shape[0] <= LARGEST_PATH
        with one_blas_thread():
            return (self._whole_optimum() if small else self.optimum()).polish()

    @cached_property
    def _clean_start(self):
        return self._start(0.0)

    def _all_rows(self):
        """The clean fit as it is, on all training rows."""
        v = np.zeros((self.kernel.X.shape[0], self.loss.signs.shape[1]))
        v[self.fitted.support_] = signed_duals(self.fitted)
        b = self.fitted.intercept_ + self.kernel.offset @ v
        return HingeOptimum(self.kernel, self._problems(v, b, False))

    def _near_problems(self):
        """The clean fit as it is, on the rows that have a part in its slope.

        These are its free support vectors and the poison rows. Support vectors at their bound
        stay there, a constant term; by its own stopping rule libsvm has them within `tol` of where
        they belong, and where it gave up they are looked at, too.

        Returns
        -------
        problems : list of (rows, point, poison_rate)
            For each pair; rows are positions among the support vectors, then the poison rows.
        kernel : Kernel
            Over these.
        fixed : ndarray of shape (n_rows, n_pairs)
            Signed duals of the support vectors that stay at their bound.
        """
        rows, fitted = self.rows, self.fitted
        support, n_poison = fitted.support_, len(rows.poison.y)
        kernel = self._kernel_of(stack(rows.clean.X[support], rows.poison.X))
        y = np.concatenate([rows.clean.y[support], rows.poison.y])
        bound = self._bounds(1.0)
        bound = np.concatenate([bound[support], bound[len(rows.clean.y) :]])
        poison = np.arange(len(y)) >= len(support)
        v = signed_duals(fitted)
        v = np.concatenate([v, np.zeros((n_poison, v.shape[1]))])
        fixed, problems = np.zeros_like(v), []
        for k, signs in enumerate(self.loss.signs.T):
            a = np.abs(v[:, k])
            lower, upper = HingeOptimum.ends_of(a, bound)
            near = ~lower if fitted.fit_status_ else ~(lower | upper)
            near = np.flatnonzero((near | poison) & (signs[y] != 0))
            fixed[:, k] = v[:, k]
            fixed[near, k] = 0.0
            at_bound = np.flatnonzero(fixed[:, k])
            outside = kernel.product(kernel.X[near], at_bound, fixed[at_bound, k])
            sign, u = signs[y[near]], bound[near]
            rate = np.where(poison[near], u, 0.0)
            b = float(fitted.intercept_[k] + v[:, k] @ kernel.offset)
            at = near, sign, u - rate, rate, a[near], b
            rest = outside, float(fixed[:, k].sum())
            problems.append(HingeOptimum.part(kernel, *at, free_intercept=True, outside=rest))
        return problems, kernel, fixed

    def _start(self, beta):
        """Signed duals and intercepts of a loose fit on the kernel matrix, which is centred."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # polished in any case
            start = self._fit_on_gram(beta, 1e-4, 200_000)
        v = np.zeros((self.kernel.X.shape[0], self.loss.signs.shape[1]))
        v[start.support_] = signed_duals(start)
        return v, start.intercept_

    @cached_property
    def _is_followed(self):
        """Whether the dual path is, which is a matter of size and of the kernel."""
        n_rows, n_clean = self.kernel.X.shape[0], len(self.rows.clean.y)
        if n_rows > LARGEST_PATH or self.estimator.kernel == "sigmoid":  # not a positive kernel
            return False
        v, _ = self._clean_start
        free = np.any((v != 0) & (np.abs(v) < self._bounds(1.0)[:, None]), axis=1)
        return n_rows <= 3000 or free.sum() <= n_clean / 2

    def _label_switches(self, rows, y, until=None):
        svc, n_classes = self.estimator, len(self.rows.classes)
        by_sums = n_classes > 2 and svc.break_ties and svc.decision_function_shape == "ovr"
        if by_sums or not self._is_followed:
            return None
        try:
            with warnings.catch_warnings():
                # Only where the path starts; its residuals are checked.
                warnings.simplefilter("ignore", ConvergenceWarning)
                clean = self.polished
            enough = None if until is None else self._holding(y, until)
            changes = [pair.sign_changes() for pair in clean.breakpoints(rows, enough)]
        except (ValueError, RuntimeError):
            return None
        if n_classes == 2:
            above = changes[0].above == (y == 1)
            changes = SignChanges(above, changes[0].rows, changes[0].weights)
            return by_comparisons(np.arange(len(y)), changes, "dual path", 0.0)
        return by_votes(y, changes, n_classes, "dual path", 0.0)

    def _solve(self, weights, n_jobs=None):
        if self.kernel.X.shape[0] > LARGEST_GRAM:
            return self.refits(weights, n_jobs=n_jobs)
        if not self._is_followed:
            return self._kernel_refits(weights)
        try:
            with warnings.catch_warnings():
                # Only where the path starts; its residual is checked.
                warnings.simplefilter("ignore", ConvergenceWarning)
                clean = self.polished
            above, guess = weights[weights > 0], None
            if len(above) == 1:  # to polish libsvm's fit there meets fewer breakpoints
                with one_blas_thread():
                    guess = self._start(above[0])
            return clean.path(self, weights, guess)
        except (ValueError, RuntimeError) as error:
            warn_of_refits(error)
            return self._kernel_refits(weights)

    def _bounds(self, beta):
        weight, weight_poison = self.rows.weights
        return self.estimator.C * np.concatenate([weight, beta * weight_poison])

    def _fit_on_gram(self, beta, tol, max_iter):
        """libsvm on the kernel matrix, at one poison weight.

        At 0 libsvm drops the poison rows. They are the last ones, so `support_` stays right.
        """
        rows, svc, K = self.rows, self.estimator, self.kernel.gram()
        y = rows.classes[rows.y]
        weight = np.concatenate([rows.clean.weight, beta * rows.poison.weight])
        libsvm = SVC(
            C=svc.C,
            kernel="precomputed",
            class_weight=svc.class_weight,
            shrinking=svc.shrinking,
            cache_size=svc.cache_size,
            tol=tol,
            max_iter=max_iter,
        )
        return libsvm.fit(K, y, weight)

    def _kernel_refits(self, weights):
        """libsvm at each weight and the learner's own tolerance, on one kernel matrix."""
        K = self.kernel.gram()
        n_rows, n_outputs, tol = len(K), self.loss.signs.shape[1], self.estimator.tol
        v, b = np.zeros((len(weights), n_rows, n_outputs)), np.zeros((len(weights), n_outputs))
        for k, beta in enumerate(progress(weights, len(weights), "kernel refits")):
            fit = self._fit_on_gram(beta, tol, self.estimator.max_iter)
            v[k, fit.support_], b[k] = signed_duals(fit), fit.intercept_
        if weights[0] == 0.0:
            v_start = v[0]
        else:
            start = self._fit_on_gram(0.0, tol, self.estimator.max_iter)
            v_start = np.zeros_like(v[0])
            v_start[start.support_] = signed_duals(start)
        rows, residuals, products = self.rows, np.zeros(len(weights)), np.zeros_like(v)
        y = rows.y
        for k, signs in enumerate(self.loss.signs.T):
            products[:, :, k] = v[:, :, k] @ K
            used = np.flatnonzero(signs[y] != 0)
            bounds = np.stack([self._bounds(beta)[used] for beta in weights])
            point = signs[y[used]], v[:, used, k], b[:, k], products[:, used, k], bounds
            wrong = HingeOptimum.violations(self.kernel, used, *point)
            residuals = np.maximum(residuals, wrong)
        if residuals.max() > max(10 * tol, 1e-5):  # libsvm keeps kernel values in float32
            warnings.warn(
                "Refits of SVC violate their optimality conditions by up to"
                f" {residuals.max():.1e}, more than its tol={tol:g}; scale the features, lower C"
                " or raise max_iter.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return KernelSolution(
            self,
            weights,
            "kernel refit",
            residuals,
            kernel=self.kernel,
            dual_coef=v,
            dual_coef_rate=None,
            centred_intercept=b,
            centred_intercept_rate=None,
            squared_norm=np.sum(v * products, axis=(1, 2)),
            inner=np.sum(v_start * products, axis=(1, 2)),
            start_dual_coef=v_start,
            start_norm=np.sqrt(max(np.sum(v_start * (K @ v_start)), 0.0)),
            first_breakpoint=None,
        )


def warn_of_refits(error):
    warnings.warn(
        f"The dual path could not be followed, so these fits are refits. Cause: {error}",
        ConvergenceWarning,
        stacklevel=5,
    )


def signed_duals(svc):
    """Signed dual coefficients of the support vectors of a fit, shape (n_support, n_pairs)."""
    dual = svc.dual_coef_.toarray() if sp.issparse(svc.dual_coef_) else svc.dual_coef_
    ends = np.concatenate([[0], np.cumsum(svc.n_support_)])
    pairs = list(combinations(range(len(svc.classes_)), 2))
    v = np.zeros((dual.shape[1], len(pairs)))
    for k, (i, j) in enumerate(pairs):
        v[ends[i] : ends[i + 1], k] = dual[j - 1, ends[i] : ends[i + 1]]
        v[ends[j] : ends[j + 1], k] = dual[i, ends[j] : ends[j + 1]]
    return v


def _gamma(rule, X):
    """gamma="scale" or "auto" as a number, as `SVC.fit` makes it of its rows."""
    if rule == "auto":
        return 1.0 / X.shape[1]
    variance = X.multiply(X).mean() - X.mean() ** 2 if sp.issparse(X) else X.var()
    return 1.0 / (X.shape[1] * variance) if variance != 0 else 1.0


def look_up_gram(estimator, clean, poison):
    """A Pipeline that ends in a precomputed-kernel SVC, as one with a kernel function.

    The step before the SVC makes the Gram matrix, whose columns are its training rows; it is
    fitted on clean and poison rows, the steps before it on clean rows only.

    Parameters
    ----------
    estimator : Pipeline
        Ends in ``SVC(kernel="precomputed")``.
    clean, poison : Rows
        Raw rows with labels.

    Returns
    -------
    svc : SVC
        With :func:`look_up` for a kernel.
    clean, poison : Rows
        Rows for it.
    transform : callable
        From raw samples to such rows.
    """
    before, kept = None, clean.X
    if len(estimator.steps) > 2:
        before = clone(estimator[:-2])
        kept = before.fit_transform(clean.X, clean.y)

    def first(X):
        return X if before is None else before.transform(X)

    rows = stack(kept, first(poison.X))
    gram = clone(estimator.steps[-2][1]).fit(rows)
    K, n_clean = np.asarray(gram.transform(rows)), len(clean.y)
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            "The step before SVC(kernel='precomputed') must give one column a training row, but"
            f" on {K.shape[0]} rows it gave {K.shape[1]} columns."
        )
    numbered = number_rows(K, np.arange(len(K)))
    svc = clone(estimator.steps[-1][1]).set_params(kernel=look_up)

    def transform(X):
        return number_rows(gram.transform(first(X)))

    return (
        svc,
        clean._replace(X=numbered[:n_clean]),
        poison._replace(X=numbered[n_clean:]),
        transform,
    )
