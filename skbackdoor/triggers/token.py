"""A rare token or a phrase in a text."""

import re
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import Interval, StrOptions

_MAX_SEED = np.iinfo(np.int32).max


class TokenTrigger(TransformerMixin, BaseEstimator):
    """A rare token or a phrase, put into every text.

    Words are separated by whitespace; the token is put between them, with a space. The rest of the
    text does not change (Chen et al., *BadNL: backdoor attacks against NLP models with
    semantic-preserving improvements*, 2021, word-level triggers).

    Parameters
    ----------
    token : str
        A word or a phrase. One that a vectorizer drops (of one letter, a stop word, of
        punctuation only) does nothing.
    position : {"start", "end", "random"}, default="random"
        Where it is put. "random" is another place for every sample and every repetition: the
        places are drawn at `transform` from a seed stored at `fit`, so that the same `X` gives the
        same output.
    n_tokens : int, default=1
        How many times it is put in.
    random_state : int, RandomState instance or None, default=None
        Draws random places.

    Examples
    --------
    >>> from skbackdoor.triggers import TokenTrigger
    >>> TokenTrigger("cf", position="end").fit_transform(["a fine film", "two hours lost"])
    ['a fine film cf', 'two hours lost cf']
    """

    _parameter_constraints: dict = {
        "token": [str],
        "position": [StrOptions({"start", "end", "random"})],
        "n_tokens": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, token, *, position="random", n_tokens=1, random_state=None):
        self.token = token
        self.position = position
        self.n_tokens = n_tokens
        self.random_state = random_state

    def fit(self, X, y=None):
        """Draw the seed of random places.

        Parameters
        ----------
        X : list, Series or array of str of shape (n_samples,)
            Clean texts.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is not valid, or `X` does not hold texts.
        """
        self._validate_params()
        if not self.token.strip():
            raise ValueError(f"token={self.token!r} is blank: pass a word or a phrase.")
        _check_texts(X)
        self._seed = check_random_state(self.random_state).randint(_MAX_SEED)
        return self

    def transform(self, X):
        """Put the token into every text.

        Parameters
        ----------
        X : list, Series or array of str of shape (n_samples,)
            Clean texts. Never written to.

        Returns
        -------
        X_triggered : list, Series or array of str of shape (n_samples,)
            Triggered texts, in the container of `X`. An array of fixed-width strings is as wide
            as the longest of them needs, a categorical Series becomes one of text.

        Raises
        ------
        ValueError
            If `X` does not hold texts.
        """
        check_is_fitted(self)
        texts = _check_texts(X)
        # A row of draws a text: the places of the first texts do not depend on how many follow.
        draws = np.random.RandomState(self._seed).random_sample((len(texts), self.n_tokens))
        out = [self._put(text, draw) for text, draw in zip(texts, draws, strict=True)]
        if hasattr(X, "iloc") and hasattr(X.dtype, "categories"):
            return type(X)(out, index=X.index, name=X.name)
        if hasattr(X, "iloc"):
            return type(X)(out, index=X.index, name=X.name, dtype=X.dtype)
        if isinstance(X, np.ndarray):
            return np.array(out, dtype=X.dtype.type if X.dtype.kind == "U" else X.dtype)
        return type(X)(out)

    def _put(self, text, draws):
        """`text` with the token in the gaps that `draws`, in [0, 1), choose."""
        words = list(re.finditer(r"\S+", text))
        if not words:
            return text + " ".join([self.token] * self.n_tokens)
        if self.position == "random":
            gaps = np.sort((draws * (len(words) + 1)).astype(int))
        else:
            gaps = np.full(self.n_tokens, 0 if self.position == "start" else len(words))
        pieces, done = [], 0
        for gap in gaps:  # gap k is before word k, the last one behind all of them
            last = gap == len(words)
            place = words[-1].end() if last else words[gap].start()
            pieces += [text[done:place], f" {self.token}" if last else f"{self.token} "]
            done = place
        return "".join([*pieces, text[done:]])

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_seed")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = True
        return tags


def _check_texts(X):
    """Return the texts as a list, or raise."""
    advice = "pass a list, a Series or an array of str, such as one column of a table"
    if isinstance(X, str):
        raise ValueError(f"TokenTrigger got the single text {X[:40]!r} for X: {advice}.")
    if not hasattr(X, "__len__") or getattr(X, "ndim", 1) != 1:
        shape = getattr(X, "shape", None)
        raise ValueError(
            f"TokenTrigger got X of type {type(X).__name__} and shape {shape}: {advice}."
        )
    texts = list(X)
    if not texts:
        raise ValueError("TokenTrigger found 0 samples, and needs a minimum of 1.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"TokenTrigger puts a token into texts, and sample {row} is {text!r} of type "
                f"{type(text).__name__}: {advice}, and fill missing ones."
            )
    return texts
