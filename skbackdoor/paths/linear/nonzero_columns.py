"""Columns of zeros left out of a fit, and put back."""

import numpy as np
import scipy.sparse as sp


class NonzeroColumns:
    """Columns that are not zero in all rows, and the parameters that go with them.

    A column of zeros (a pixel that is black in every image) has nothing but the penalty in the
    Hessian, and its coefficient at the optimum is 0. Of sparse rows all columns are kept.

    Parameters
    ----------
    fit_intercept : bool
        Whether parameters have an intercept, last.
    *parts : arrays of shape (n_samples, n_features)
        Rows; a column counts where it is nonzero in any of them.
    """

    def __init__(self, fit_intercept, *parts):
        n_features = parts[0].shape[1]
        self.n_parameters = n_features + fit_intercept
        #: Their indices, None for all; and the parameters that go with them.
        self.indices, self.parameters = None, slice(None)
        if sp.issparse(parts[0]):
            return
        nonzero = np.any([X.any(axis=0) for X in parts], axis=0)
        if not nonzero.all():
            self.indices = np.flatnonzero(nonzero)
            self.parameters = np.append(self.indices, np.arange(n_features, self.n_parameters))

    def take(self, X):
        """These columns of rows."""
        return X if self.indices is None else np.take(X, self.indices, axis=1)

    def reduce(self, W):
        """The parameters that go with these columns."""
        return W[..., self.parameters]

    def expand(self, W):
        """Parameters of all columns, those of the others 0."""
        if self.indices is None:
            return W
        full = np.zeros((*W.shape[:-1], self.n_parameters))
        full[..., self.parameters] = W
        return full
