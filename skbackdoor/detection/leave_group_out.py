"""Poison found by leaving groups of rows out."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.utils import check_random_state

from .._compat import Interval
from ..learners import MAX_SEED
from .base import Findings, PoisonDetector
from .kernel_ridge import LeaveGroupOutRidge, leave_one_out_accuracy
from .search import Search

#: Kernel widths that are tried, in units of 1 / median squared distance, and penalties.
GAMMAS, PENALTIES = (0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 0.1, 1.0)
#: Rows on which they are chosen.
N_CHOOSING = 1500


class LeaveGroupOutDetector(PoisonDetector):
    def __init__(
        self,
        representation=None,
        *,
        gamma=None,
        penalty=None,
        smallest_group=8,
        max_rounds=5,
        max_samples=6000,
        random_state=0,
    ):
        self.representation = representation
        self.gamma = gamma
        self.penalty = penalty
        self.smallest_group = smallest_group
        self.max_rounds = max_rounds
        self.max_samples = max_samples
        self.random_state = random_state

    def _detect(self, X, features, y, sample_weight):
        seed = check_random_state(self.random_state).randint(MAX_SEED)
        features = features.toarray() if sp.issparse(features) else features
        self._choose(features, y, seed)
        groups, scores, left = [], np.zeros(len(y)), np.ones(len(y), dtype=bool)
        for _ in range(self.max_rounds):
            rows = np.flatnonzero(left)
            found = self._round(features[rows], y[rows], seed)
            accepted = [group for group in found if group.verdict == "poison"]
            for group in accepted:
                members = rows[group.indices]
                left[members] = False
                groups.append(replace(group, indices=members))
            if not accepted:
                break
        is_poison = ~left
        scores[is_poison] = 1.0
        return Findings(scores, is_poison, groups)

    def _choose(self, X, y, seed):
        rng = np.random.RandomState(seed)
        some = rng.permutation(len(y))[:N_CHOOSING]
        D = euclidean_distances(X[some], squared=True)
        median = np.median(D[np.triu_indices(len(some), 1)])
        best = -1.0
        for gamma in [self.gamma] if self.gamma else np.divide(GAMMAS, median):
            penalties = [self.penalty] if self.penalty else PENALTIES
            K = np.exp(-gamma * D)
            for penalty, accuracy in zip(penalties, leave_one_out_accuracy(K, y[some], penalties)):
                if accuracy > best:
                    best, self.gamma_, self.penalty_ = accuracy, gamma, penalty
        self.leave_one_out_accuracy_ = best

    def _round(self, X, y, seed):
        K = rbf_kernel(X, gamma=self.gamma_)
        ridge = LeaveGroupOutRidge(K, y, self.penalty_, int(y.max()) + 1)
        search = Search(X, ridge, self.smallest_group, seed % (2**31))
        accepted = []
        for label in np.unique(y):
            if np.sum(y == label) < 2 * self.smallest_group:
                continue
            for group in search.groups_of(label)[:1]:
                g = group
                if (
                    g.flip >= 0.8
                    and g.cohesion >= 0.45
                    and g.stay >= 0.5
                    and g.coverage >= 0.7
                    and g.score >= 0.5
                ):
                    group = replace(group, verdict="poison")
                accepted.append(group)
        return accepted
