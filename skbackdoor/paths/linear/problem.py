"""Clean and poison rows of a linear model, as its objective has them."""

from functools import cached_property

from ..centring import Centring, far_mean
from .design import DesignMatrix
from .nonzero_columns import NonzeroColumns
from .objective import LinearObjective


class LinearProblem:
    r"""A linear model's training objective on clean rows, and the losses of poison rows.

    At poison weight beta the fit minimises :math:`J(W) + \beta P(W)`. Where the intercept is free
    and the features' means are far from 0, all rows are centred, and so are parameters here:
    `centring` converts.

    Parameters
    ----------
    clean, poison : Rows
        Float rows, label indices, weights as the loss has them (those of poison at beta = 1).
    loss : object
        A smooth loss of :mod:`skbackdoor.paths.losses`.
    alpha : float
        Penalty, > 0 (0 is allowed where the Hessian can be factorised).
    fit_intercept : bool
        Whether there is an intercept.
    intercept_penalty : float, default=0.0
        Its penalty, in units of alpha; 0 is free.

    Attributes
    ----------
    clean : LinearObjective
        J.
    poison : LinearObjective
        P, which has no penalty.
    centring : Centring

    Notes
    -----
    `columns` and `reduced` take a pass over the clean rows: they are made when first asked for,
    and kept for all optima of the problem.
    """

    def __init__(self, clean, poison, loss, alpha, fit_intercept, intercept_penalty=0.0):
        self.loss, self.alpha, self.intercept_penalty = loss, alpha, intercept_penalty
        self.fit_intercept = fit_intercept
        free = fit_intercept and intercept_penalty == 0
        self.centring = Centring(far_mean(clean.X) if free else None)
        self.clean = self.objective(self.design(clean.X), clean.y, clean.weight)
        self.poison = LinearObjective(
            self.design(poison.X), poison.y, poison.weight, loss, alpha=0.0
        )

    def design(self, X):
        """The design matrix of rows as the learner sees them."""
        return DesignMatrix(self.centring(X), self.fit_intercept)

    def objective(self, design, y, weight):
        """J on other rows, given by their design matrix."""
        return LinearObjective(design, y, weight, self.loss, self.alpha, self.intercept_penalty)

    @cached_property
    def columns(self):
        """The columns that are nonzero in some clean row."""
        return NonzeroColumns(self.fit_intercept, self.clean.design.X)

    @cached_property
    def reduced(self):
        """J on these columns only."""
        clean, indices = self.clean, self.columns.indices
        if indices is None:
            return clean
        design = DesignMatrix(clean.design.X, self.fit_intercept, indices)
        return self.objective(design, clean.y, clean.weight)
