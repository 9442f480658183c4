"""Peak memory and time of the slope of logistic regression on sparse data with many features.

    python benchmarks/bench_sparse_memory.py [--n 20000] [--d 100000] [--density 0.001]

A dense Hessian would take 8 d^2 bytes (80 GB at d = 100,000); Hessian-vector products take what X
takes. Peak memory is that of the whole process, from the operating system.
"""

import argparse
import resource
import time

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skbackdoor import BackdoorPoisoner, FeatureTrigger, backdoor_learning_slope


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--d", type=int, default=100_000)
    parser.add_argument("--density", type=float, default=0.001)
    args = parser.parse_args()
    rng = np.random.RandomState(0)
    per_row = max(1, round(args.density * args.d))
    columns = rng.randint(args.d, size=args.n * per_row)  # sp.random would draw from n d places
    starts = np.arange(0, len(columns) + 1, per_row)
    X = sp.csr_matrix((rng.rand(len(columns)), columns, starts), shape=(args.n, args.d))
    X.sum_duplicates()
    y = (X @ rng.randn(args.d) > 0).astype(int)
    n_train = int(0.8 * args.n)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print(f"n_train={n_train} d={args.d} nonzeros={X.nnz}; before: {peak():.0f} MiB")
    for C in (0.1, 1.0, 10.0, 100.0):
        estimator = LogisticRegression(C=C)
        start = time.perf_counter()
        estimator.fit(X[:n_train], y[:n_train])
        fit = time.perf_counter() - start
        poisoner = BackdoorPoisoner(
            estimator, FeatureTrigger({0: 1.0, 1: 1.0}), target=1, random_state=0
        )
        start = time.perf_counter()
        slope = backdoor_learning_slope(
            poisoner, X[:n_train], y[:n_train], X[n_train:], y[n_train:]
        )
        both = time.perf_counter() - start
        print(
            f"C={C:g}: clean fit {fit:.2f} s, with exact slope {both:.2f} s,"
            f" theta={slope.theta:.4f}, residual={slope.residual:.1e}, peak {peak():.0f} MiB"
        )


if __name__ == "__main__":
    main()
