"""Whether what weight paths store is true, on thousands of problems made to be hard.

    python benchmarks/bench_truth.py [--problems 3000] [--families svc-rbf ridge ...] [--jobs 2]

Random near-singular problems: 1 to 3 features, rows that repeat, rows that repeat with the other
label, integers, tiny gamma, C from 1e-3 to 1e5, sample weights of 0. Every stored solution is held
against

- the optimality conditions of its own learner, computed here from the documented objective and the
  stored coefficients: kernels from differences, gradients in extended precision;
- an independent solver: libsvm, liblinear and lbfgs at tight tolerances (where these are no better
  by the same conditions than what they are to judge, they judge nothing; where no row of libsvm's
  is free but for rounding, its intercept is the middle of all that are optimal, as libsvm has it
  where none is free at all), for ridge a solve in extended precision;
- for the slope: the right derivative of all decision values at 0 against difference quotients
  between solutions at weights h and 2 h, each held against its conditions in the same way, with
  2 h before the first breakpoint, where quotients at h and h / 10 agree and the solutions'
  residuals are far below the difference.

A solution is wrong where its conditions are violated by more than 1e-6 beyond rounding, or where a
training row that the independent solver puts clearly on one side (by 0.01 more than its own
violation of the conditions leaves open) is on the other; a slope, where it differs from the
quotient by more than 1 in 1,000. The counts of what is wrong without a warning, wrong with one,
warned of at all, and refused with an error are printed, and the exit status is 1 where anything is
wrong without a warning, or more than 1 problem in 1,000 of a family is wrong with one, warned of
or refused.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import lsq_linear
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from skbackdoor import weight_path

LONG = np.longdouble
WEIGHTS = (0.0, 0.1, 0.5, 1.0)
#: Violation of the optimality conditions above which a solution is wrong.
VIOLATED = 1e-6
#: Decision value of the independent solver from which on a row is clearly on one side.
CLEAR = 0.01


@dataclass
class Problem:
    """Rows, clean ones first, and the parameters of the learner."""

    X: np.ndarray
    y: np.ndarray
    is_poison: np.ndarray
    weight: np.ndarray | None
    C: float
    gamma: float

    def weights(self, beta):
        """Weight of each row at a poison weight."""
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        return np.where(self.is_poison, beta, 1.0) * weight


def problem(seed):
    """A random problem, hard by design."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(12, 81)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d))
    if rng.random() < 0.3:
        X = np.round(X * rng.choice([1, 3]))
    if rng.random() < 0.3:  # rows that repeat, half of them with the other label
        X[n // 2 :] = X[: n - n // 2]
    if rng.random() < 0.15:
        X = np.column_stack([X, X[:, 0] * 2])
    if rng.random() < 0.5:
        y = (rng.random(n) < rng.choice([0.5, 0.2])).astype(int)
    else:
        y = (X[:, 0] + rng.choice([0.0, 0.5]) * rng.normal(size=n) > np.median(X[:, 0])).astype(
            int
        )
    y[:4] = [0, 0, 1, 1]
    is_poison = np.arange(n) >= n - max(1, n // 10)
    if rng.random() < 0.5:  # a backdoor: one place, one label
        X[is_poison, 0] += rng.choice([0.0, 3.0])
        y[is_poison] = 1
    weight = None
    if rng.random() < 0.3:
        weight = rng.choice([0.0, 0.5, 1.0, 3.0], n)
        weight[:4], weight[is_poison] = 1.0, 1.0
    return Problem(
        X, y, is_poison, weight, 10.0 ** rng.integers(-3, 6), 10.0 ** rng.integers(-4, 2)
    )


# -- hinge machines ----------------------------------------------------------------------------


def kernel_of(svc, A, B):
    """Kernel values, those of rbf from differences."""
    if svc.kernel == "rbf":
        return np.exp(-svc.gamma * np.sum((A[:, None] - B) ** 2, axis=2))
    inner = A @ B.T
    return inner if svc.kernel == "linear" else (svc.gamma * inner + svc.coef0) ** svc.degree


def open_by_gap(gap, largest):
    """How far decision values may be from the optimum's where the objective is, by a gap.

    The objective is 1-strongly convex in feature space; K(x, x) is at most `largest`.
    """
    return np.sqrt(2 * gap * largest)


def svc_violation(K, sign, u, v, b):
    """Largest violation of the optimality conditions of C-SVC, and the size of its rounding."""
    # The sum of duals is 0, so that a constant may be taken from the kernel: fewer digits lost.
    shift = K.mean()
    F = ((K - shift) @ v.astype(LONG) + shift * v.astype(LONG).sum() + b).astype(float)
    a, h = sign * v, sign * F - 1.0
    inside = (a > 0) & (a < u * (1 - 1e-12))
    wrong = np.where(inside, np.abs(h), np.where(a > 0, np.maximum(h, 0), np.maximum(-h, 0)))
    wrong = np.where(u > 0, wrong, 0.0).max()
    box = np.maximum(-a, a - u * (1 + 1e-12)).max()
    scale = max(1.0, np.abs(K).max())
    noise = 64 * np.finfo(float).eps * (np.abs(K) @ np.abs(v)).max()
    return max(wrong, box * scale, abs(v.sum()) * scale), noise


def middle(F, sign, a, u, b):
    """The intercept, where no dual is free but for rounding the middle of all that are optimal.

    libsvm takes it from a dual that rounding has left next to its bound.
    """
    full, none = a > u * (1 - 1e-6), a < 1e-6 * u
    if not np.all((full | none)[u > 0]):
        return b
    at_least = (u > 0) & (full == (sign < 0))  # b may not be less than sign - F there
    least, most = (sign - F)[at_least], (sign - F)[(u > 0) & ~at_least]
    return (least.max() + most.min()) / 2 if len(least) and len(most) else b


def check_svc(given, svc):
    order = np.r_[np.flatnonzero(~given.is_poison), np.flatnonzero(given.is_poison)]
    used = order if given.weight is None else order[given.weight[order] > 0]
    sign, X = 2.0 * given.y[used] - 1.0, given.X[used]
    K = kernel_of(svc, X, X)

    def violation(solution, k, beta):
        u = svc.C * given.weights(beta)[used]
        return svc_violation(K, sign, u, solution.dual_coef[k, :, 0], solution.intercept[k, 0])

    def independent(beta):
        weight = given.weights(beta)
        kept = weight > 0
        fit = SVC(**{**svc.get_params(), "tol": 1e-7, "max_iter": 500_000})
        fit.fit(given.X[kept], given.y[kept], weight[kept])
        v = np.zeros(len(given.y))
        v[np.flatnonzero(kept)[fit.support_]] = fit.dual_coef_[0]
        u = svc.C * weight[used]
        left, _ = svc_violation(K, sign, u, v[used], fit.intercept_[0])
        b = middle(K @ v[used], sign, sign * v[used], u, fit.intercept_[0])
        F = fit.decision_function(given.X) - fit.intercept_[0] + b
        return F, open_by_gap(left * u.sum(), K.diagonal().max())

    return violation, independent


def check_linear_hinge(given, svc):
    """The conditions of a primal point: duals that balance it exist (a small linear program)."""
    Z = np.column_stack([given.X, np.ones(len(given.y))])
    sign = 2.0 * given.y - 1.0

    def violation(solution, k, beta):
        w = np.append(solution.coef[k, 0], solution.intercept[k, 0])
        return hinge_violation(Z, sign, svc.C * given.weights(beta), w)[0], 0.0

    def independent(beta):
        weight = given.weights(beta)
        kept = weight > 0
        fit = LinearSVC(**{**svc.get_params(), "tol": 1e-9, "max_iter": 20_000})
        fit.fit(given.X[kept], given.y[kept], weight[kept])
        w = np.append(fit.coef_[0], fit.intercept_[0])
        apart = hinge_violation(Z, sign, svc.C * weight, w)[1]
        return fit.decision_function(given.X), apart * np.linalg.norm(Z, axis=1).max()

    return violation, independent


def hinge_violation(Z, sign, u, w):
    """Distance of w from all sum_i a_i y_i z_i that its margins allow, relative and as it is.

    The objective is 1-strongly convex, so that the optimum is no further away than that.
    """
    h = sign * (Z.astype(LONG) @ w.astype(LONG)).astype(float) - 1.0
    # Decision values by way of the dual are a sum of n terms of up to u K.
    edge = 1e-9 + 64 * np.finfo(float).eps * (u @ np.sum(Z**2, axis=1))
    full = h < -edge
    free = (np.abs(h) <= edge) & (u > 0)
    left = w - Z[full].T @ (sign * u)[full]
    scale = max(1.0, np.abs(w).max(), (np.abs(Z[full]).T @ u[full]).max(initial=0.0))
    if free.any():
        A = (sign[free, None] * Z[free]).T
        found = lsq_linear(A * u[free], left, (0.0, 1.0), method="bvls", tol=1e-14)
        left = A @ (found.x * u[free]) - left
    return np.abs(left).max() / scale, np.linalg.norm(left)


# -- smooth losses -----------------------------------------------------------------------------


def check_smooth(given, estimator, slope_of, penalised):
    """Relative gradient of sum_i s_i l_i + |w|^2 / 2C in extended precision."""
    sign = (2.0 * given.y - 1.0).astype(LONG)
    Z = np.column_stack([given.X, np.ones(len(given.y))]).astype(LONG)
    alpha = 1.0 / estimator.C if hasattr(estimator, "C") else estimator.alpha
    penalty = np.full(Z.shape[1], LONG(alpha))
    penalty[-1] *= penalised
    far = float(np.sqrt(np.sum(Z**2, axis=1)).max())

    def gradient(w, beta):
        s = given.weights(beta).astype(LONG)
        margin = sign * (Z @ w)
        return Z.T @ (s * sign * slope_of(margin)) + penalty * w

    def relative(w, beta):
        start = np.linalg.norm(gradient(np.zeros_like(w), beta).astype(float))
        s = given.weights(beta)
        terms = np.abs(Z.astype(float)).T @ s
        noise = 1e-7 * np.linalg.norm(terms)  # where the terms of the start cancel
        return float(np.linalg.norm(gradient(w, beta).astype(float)) / max(start, noise))

    def violation(solution, k, beta):
        w = np.append(solution.coef[k, 0], solution.intercept[k, 0]).astype(LONG)
        F = np.abs(Z.astype(float)) @ np.abs(w.astype(float))
        noise = np.linalg.norm(np.abs(Z.astype(float)).T @ (given.weights(beta) * F))
        start = max(np.linalg.norm(gradient(np.zeros_like(w), beta).astype(float)), 1e-300)
        return relative(w, beta), 4 * np.finfo(float).eps * noise / start

    def independent(beta):
        weight = given.weights(beta)
        kept = weight > 0
        params = {"tol": 1e-10} if hasattr(estimator, "tol") else {}
        if hasattr(estimator, "max_iter"):
            params["max_iter"] = 20_000
        fit = type(estimator)(**{**estimator.get_params(), **params})
        fit.fit(given.X[kept], given.y[kept], weight[kept])
        w = np.append(np.ravel(fit.coef_), fit.intercept_[0]).astype(LONG)
        apart = np.linalg.norm(gradient(w, beta).astype(float)) / alpha  # strong convexity
        return fit.decision_function(given.X), float(apart) * far

    return violation, independent


def logistic_slope(margin):
    return -expit(-margin.astype(float)).astype(LONG)


def squared_hinge_slope(margin):
    return -2 * np.maximum(0, 1 - margin)


def squared_slope(margin):
    return -2 * (1 - margin) / 2  # Ridge: |y - f|^2 + alpha |w|^2, halved


FAMILIES = {
    "svc-linear": (lambda p: SVC(kernel="linear", C=p.C), check_svc),
    "svc-rbf": (lambda p: SVC(C=p.C, gamma=p.gamma), check_svc),
    "svc-poly": (
        lambda p: SVC(kernel="poly", C=p.C, gamma=min(p.gamma, 1.0), coef0=1.0, degree=2),
        check_svc,
    ),
    "hinge": (lambda p: LinearSVC(C=p.C, loss="hinge"), check_linear_hinge),
    "squared-hinge": (
        lambda p: LinearSVC(C=p.C),
        lambda p, e: check_smooth(p, e, squared_hinge_slope, 1),
    ),
    "logistic": (
        lambda p: LogisticRegression(C=p.C),
        lambda p, e: check_smooth(p, e, logistic_slope, 0),
    ),
    "liblinear": (
        lambda p: LogisticRegression(C=p.C, solver="liblinear"),
        lambda p, e: check_smooth(p, e, logistic_slope, 1),
    ),
    "ridge": (
        lambda p: RidgeClassifier(alpha=1 / p.C),
        lambda p, e: check_smooth(p, e, squared_slope, 0),
    ),
}


def tried(call):
    """What a call gives, and whether it warned of an optimum; an error counts as refusal."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except (ValueError, RuntimeError) as error:
            return None, str(error)
    warned = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return result, "warned" if warned else ""


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def one(family, seed):
    """What there is to say of one problem: a Counter, and a line where something is wrong."""
    given, (make, check) = problem(seed), FAMILIES[family]
    estimator = make(given)
    violation, independent = check(given, estimator)
    path = weight_path(estimator, given.X, given.y, given.is_poison, sample_weight=given.weight)
    solution, said = tried(lambda: path.solve(WEIGHTS))
    found, lines = Counter(problems=1), []
    if solution is None:
        lines.append(f"{family} seed={seed} C={given.C:g}: refused: {said[:70]}")
        return found + Counter(refused=1), lines
    found["warned"] += said == "warned"
    for k, beta in enumerate(WEIGHTS):
        left, noise = violation(solution, k, beta)
        wrong = left > VIOLATED + noise
        F = solution.decision_function(given.X)[k, :, 0]
        G, open_by = quiet(lambda beta=beta: independent(beta))
        clear = np.abs(G) > CLEAR + open_by
        sides = int(np.sum(clear & (F * G <= 0)))
        found["rows judged by another solver"] += int(clear.sum())
        if wrong or sides:
            found["wrong, warned of" if said else "wrong, silent"] += 1
            lines.append(
                f"{family} seed={seed} C={given.C:g} gamma={given.gamma:g} beta={beta}:"
                f" conditions {left:.1e} (rounding {noise:.0e}, stored residual"
                f" {solution.residuals[k]:.1e}), {sides} rows on another side than the independent"
                f" solver's; {said or 'no warning'}"
            )
    slope = slope_error(path, given, solution)
    if slope is not None:
        found["slopes"] += 1
        if slope > 1e-3:
            found["slopes wrong"] += 1
            lines.append(f"{family} seed={seed} C={given.C:g}: slope off by {slope:.1e}")
    return found, lines


def slope_error(path, given, solution):
    """How far the tangent at 0 is from difference quotients; None where these do not agree."""
    tangent, said = tried(lambda: solution.tangent(given.X)[0])
    if tangent is None:
        return np.inf
    last, before = solution.first_breakpoint or 1.0, None
    for h in 10.0 ** np.arange(-2.0, -8.0, -1.0):
        if 2 * h >= last:
            continue
        pair, said = tried(lambda h=h: path.solve([h, 2 * h]))
        if pair is None or said or pair.residuals.max() > 1e-10:
            before = None
            continue
        F = pair.decision_function(given.X)
        quotient = (F[1] - F[0]) / h
        size = np.abs(quotient).max()
        agree = before is not None and np.abs(quotient - before).max() <= 3e-4 * size
        sure = pair.residuals.max() <= 1e-5 * h * size  # else these leave too much of it open
        if size > 1e-6 and agree and sure:
            return np.abs(quotient - tangent).max() / size
        before = quotient
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--problems", type=int, default=3000, help="of each family")
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--jobs", type=int, default=None)
    args = parser.parse_args()
    failed, lines = False, []
    columns = (
        "problems",
        "rows judged by another solver",
        "wrong, silent",
        "wrong, warned of",
        "warned",
        "refused",
        "slopes",
        "slopes wrong",
    )
    print("| family | " + " | ".join(columns) + " | seconds |")
    print("|---" * (len(columns) + 2) + "|")
    for family in args.families:
        start, total = time.perf_counter(), Counter()
        seeds = range(args.first, args.first + args.problems)
        for found, said in Parallel(args.jobs)(delayed(one)(family, seed) for seed in seeds):
            total += found
            lines += said
        seconds = time.perf_counter() - start
        cells = " | ".join(str(total[column]) for column in columns)
        print(f"| {family} | {cells} | {seconds:.0f} |", flush=True)
        allowed = args.problems / 1000
        failed |= total["wrong, silent"] > 0 or total["slopes wrong"] > allowed
        failed |= max(total["wrong, warned of"], total["warned"] + total["refused"]) > allowed
    print(*lines, sep="\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
