"""The clean optimum of a learner: what every family with a closed form gives of it."""

from abc import ABC, abstractmethod


class Optimum(ABC):
    """The clean optimum of a learner, or its clean fit as it is, and how poison moves it.

    Attributes
    ----------
    residual : float
        How far it is from optimality: relative gradient norm, for hinge machines the largest
        violation of the optimality conditions.
    first_breakpoint : float or None
        Hinge machines: the poison weight at which the first row changes sets.
    intercept_jump : float
        Hinge machines: the jump of the intercept at beta = 0+.
    """

    residual: float
    first_breakpoint = None
    intercept_jump = 0.0

    @abstractmethod
    def decision_values(self, X):
        """Decision values on prepared samples, shape (n_samples, n_outputs)."""

    @abstractmethod
    def right_limit(self, X):
        """Decision values on X at beta = 0+ and their right derivative in beta."""

    @abstractmethod
    def responses(self, X, samples):
        """Rates of the decision values on X as single training samples gain weight.

        Parameters
        ----------
        X : array of shape (n_test, n_features)
            Test samples.
        samples : {"poison", "all"}
            Whose weight grows: the poison rows, or the clean rows and then the poison rows.

        Returns
        -------
        dF : ndarray of shape (n_sources, n_test, n_outputs)
            d F / d w for each sample, w in units of its own weight.
        """

    @abstractmethod
    def polish(self):
        """The exact optimum, an Optimum.

        Warns
        -----
        ConvergenceWarning
            It was not reached; its `residual` says by how much.
        """

    @abstractmethod
    def newton_step(self, *X):
        """The Optimum after one Newton step; None where that changes nothing of note on any X."""

    def parts(self, groups):
        """The same optimum once for each of some groups of poison rows, the others left out.

        Parameters
        ----------
        groups : list of ndarray of int
            Poison rows by their numbers. One group alone is all of them.

        Returns
        -------
        parts : list of Optimum
            For their right limits.
        """
        return [self] if len(groups) == 1 else self._parts(groups)

    @abstractmethod
    def _parts(self, groups):
        """What :meth:`parts` gives for several groups."""
