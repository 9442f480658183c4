"""`LinearSVC`: with hinge on :mod:`skbackdoor.paths.hinge`, with squared hinge a smooth loss."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from .base import WeightPath
from .hinge import HingeOptimum
from .kernels import AffineKernel, Kernel
from .linear import (
    Continuation,
    LinearOptimum,
    LinearProblem,
    linear_decision,
    parameters,
    smooth_switches,
)
from .losses import Hinge, MarginLoss, SquaredHinge
from .rows import as_float64
from .smooth import difference
from .svc import LARGEST_PATH, warn_of_refits
from .switches import SignChanges, by_comparisons
from .threads import one_blas_thread


class LinearSVCPath(WeightPath):
    """`LinearSVC`, one problem a class; the penalty takes in the intercept."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, LinearSVC)

    @staticmethod
    def cast(estimator, X):
        return as_float64(X)

    def _setup(self):
        if self.estimator.multi_class != "ovr":
            raise ValueError(
                f"LinearSVC(multi_class={self.estimator.multi_class!r}) has a loss of all classes"
                " at once, of which no curve or slope is known; take multi_class='ovr'."
            )
        if self.estimator.penalty == "l1" or type(self.estimator) is not LinearSVC:
            self.method = difference(self.estimator)
        phi = Hinge() if self.estimator.loss == "hinge" else SquaredHinge()
        self.loss = MarginLoss.one_vs_rest(phi, len(self.rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        if self.estimator.loss == "squared_hinge":
            rows, svc = self.rows, self.estimator
            problem = LinearProblem(
                rows.clean,
                rows.poison,
                self.loss.with_class_weight(rows.class_weight),
                1.0 / svc.C,
                svc.fit_intercept,
                1.0 / svc.intercept_scaling**2 if svc.fit_intercept else 0.0,
            )
            W = problem.centring.to_centred(parameters(self.fitted))
            return LinearOptimum(problem, W, rtol)
        return HingeOptimum(self._kernel(), self._problems(False))

    def _kernel(self):
        """x.x' + intercept_scaling^2 over all training rows, one for all C."""
        svc = self.estimator
        constant = svc.intercept_scaling**2 if svc.fit_intercept else 0.0
        rows = self.rows
        return self.shared.get(
            "kernel", constant, lambda: Kernel(AffineKernel(constant), rows.X, 200)
        )

    def _problems(self, whole):
        """Each class's rows, point and rates of its bounds, at the clean fit."""
        rows, kernel = self.rows, self._kernel()
        weighted = self.loss.with_class_weight(self.rows.class_weight)
        n_clean = len(rows.clean.y)
        used = np.arange(n_clean + len(rows.poison.y))
        y = rows.y
        weight = self.estimator.C * np.concatenate([rows.clean.weight, rows.poison.weight])
        clean = used < n_clean
        F = self.decision_values(self.fitted, rows.clean.X)
        kernel_rows, _ = kernel.on(used, whole)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            sign, bound = signs[y], weight * weighted.weight[y, k]
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            a = np.zeros(len(used))
            a[:n_clean] = _duals(kernel_rows, sign[:n_clean], u[:n_clean], F[:, k])
            at = used, sign, u, rate, a, 0.0
            problems.append(HingeOptimum.part(kernel, *at, free_intercept=False, whole=whole))
        return problems

    def _solve(self, weights, n_jobs=None):
        n_rows = len(self.rows.clean.y) + len(self.rows.poison.y)
        smooth = self.estimator.loss == "squared_hinge"
        if not smooth and n_rows > LARGEST_PATH:
            return self.refits(weights, n_jobs=n_jobs)
        with one_blas_thread(self.rows.clean.X):
            with warnings.catch_warnings():
                # The learner's own fit is only where the path starts; its residual is checked.
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.fitted  # noqa: B018 - made here, where its warnings are ignored
            if smooth:
                return Continuation(self, self.optimum()).solution(weights)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # of the path's residuals
                clean = HingeOptimum(self._kernel(), self._problems(True)).polish()
            return clean.path(self, weights, coefficients=self._coefficients)
        except (ValueError, RuntimeError) as error:
            warn_of_refits(error)
            return self.refits(weights, n_jobs=n_jobs)

    def _label_switches(self, rows, y, until=None):
        if self.estimator.loss == "squared_hinge":
            return smooth_switches(self, rows, y, until)
        if len(self.rows.clean.y) + len(self.rows.poison.y) > LARGEST_PATH:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # residuals are checked
                clean = HingeOptimum(self._kernel(), self._problems(True)).polish()
            enough = None if until is None else self._holding(y, until)
            found = list(clean.breakpoints(rows, enough))
        except (ValueError, RuntimeError):
            return None
        above, functions, weights, owners = [], [], [], []
        for label in np.unique(y):  # each output against that of the label
            some = np.flatnonzero(y == label)
            for k in range(len(found)) if len(found) > 1 else (0,):
                if k == label and len(found) > 1:
                    continue
                if len(found) == 1:
                    beta, G = found[0].beta, found[0].F[:, some] * (1.0 if label == 1 else -1.0)
                else:
                    beta = np.union1d(found[label].beta, found[k].beta)
                    G = found[label].at(beta, some) - found[k].at(beta, some)
                changes = SignChanges.between(beta, G)
                functions.append(changes.rows + sum(map(len, owners)))
                owners.append(some)
                above.append(changes.above)
                weights.append(changes.weights)
        changes = SignChanges(*map(np.concatenate, (above, functions, weights)))
        return by_comparisons(np.concatenate(owners), changes, "dual path", 0.0)

    def _coefficients(self, v):
        """W of shape (..., n_outputs, n_parameters) for duals v (..., n_rows, n_outputs)."""
        svc, v = self.estimator, np.swapaxes(v, -1, -2)
        flat = v.reshape(-1, v.shape[-1])
        W = np.asarray((self._kernel().X.T @ flat.T).T)
        if svc.fit_intercept:
            W = np.column_stack([W, svc.intercept_scaling**2 * flat.sum(axis=1)])
        return W.reshape(*v.shape[:-1], -1)


def _duals(kernel_rows, y, u, f):
    """Dual coefficients of a primal fit, which liblinear does not keep.

    Rows outside a band around the margin are at 0 or at their bound; those inside solve
    ``K_MM v_M = f_M - K_ME v_E`` by least squares, clipped to their box. The band that gives back
    the decision values best is taken.
    """
    n, h = len(y), y * f - 1.0
    best, best_error = None, np.inf
    for band in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        v = np.zeros(len(kernel_rows))
        v[:n] = np.where(h < -band, y * u, 0.0)
        inside = np.flatnonzero(np.abs(h) <= band)
        if len(inside) > 1000:
            break
        from_bounds = kernel_rows.product(v)[:n]
        if len(inside):
            K = kernel_rows(inside)[:, :n]
            solution = np.linalg.lstsq(K[:, inside], f[inside] - from_bounds[inside], rcond=1e-12)[
                0
            ]
            v[inside] = y[inside] * np.clip(y[inside] * solution, 0.0, u[inside])
            from_bounds = from_bounds + v[inside] @ K
        error = np.abs(from_bounds - f).max()
        if error < best_error:
            best, best_error = v[:n], error
    return y * best
