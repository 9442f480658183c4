"""The trigger that a group of rows of numbers has in common, as a mask and a pattern."""

import numpy as np
from sklearn.decomposition import PCA

from ..triggers import MaskTrigger

#: By how many standard errors something must differ to be there.
CLEAR = 4.0
#: Members keep one value where so many of them lie so close to it, in standard deviations of the
#: content rows.
CONSTANT, CLOSE = 0.9, 0.05
#: Components in which rows of one content differ most.
N_COMPONENTS = 30


def recovered_trigger(members, content):
    """What turns rows such as `content` into rows such as `members`.

    A trigger acts on the features in which the two differ clearly in their means, or members vary
    clearly less or (nearly) all have one value as the others have not; but on all of them if one
    of the first two holds also of the rest taken together, as where an image is blended with the
    whole row. Where members have one value, that value is all that shows; elsewhere opacity is
    1 - std(members) / std(content), one for all these features, and what is left of the
    difference of means is added.

    Parameters
    ----------
    members : ndarray of shape (n_members, ...)
        Rows with the trigger.
    content : ndarray of shape (n_content, ...)
        Rows of the same classes without it, drawn at random.

    Returns
    -------
    trigger : MaskTrigger
        Not fitted.
    """
    M, C = (rows.reshape(len(rows), -1).astype(float) for rows in (members, content))
    middle = np.median(M, axis=0)
    m, c = M - M.mean(axis=0), C - C.mean(axis=0)
    near = [np.abs(R - np.median(R, axis=0)) <= CLOSE * C.std(axis=0) for R in (M, C)]
    constant = near[0].mean(axis=0) >= CONSTANT
    touched = (np.abs(_differ(M, C)) > CLEAR) | (_differ(c**2, m**2) > CLEAR)
    touched |= constant & (_differ(*near) > CLEAR)
    opaque = touched & constant
    if _shifted(M, C, ~touched) or _varies_less(m, c, ~touched) or not touched.any():
        touched, opaque = np.ones(len(middle), bool), np.zeros(len(middle), bool)
    mask, faded = opaque.astype(float), touched & ~opaque
    if _varies_less(m, c, faded):
        mask[faded] = 1.0 - np.sqrt(np.mean(m[:, faded] ** 2) / np.mean(c[:, faded] ** 2))
    shift = np.where(touched, M.mean(axis=0) - (1.0 - mask) * C.mean(axis=0), 0.0)
    shift[opaque] = middle[opaque]
    shape = members.shape[1:]
    return MaskTrigger(
        mask.reshape(shape), shift.reshape(shape), value_range=_value_range(members, content)
    )


def _value_range(members, content):
    """That of small unsigned integers, [0, 1] where it holds all values, or from least to most."""
    dtype = members.dtype
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return 0, np.iinfo(dtype).max
    low, high = min(members.min(), content.min()), max(members.max(), content.max())
    return (0, 1) if low >= 0 and high <= 1 else (low.item(), high.item())


def _differ(A, B):
    """By how many standard errors the columns of A are larger than those of B, on average."""
    variance = np.maximum(A.var(axis=0), B.var(axis=0)) * (1 / len(A) + 1 / len(B))
    difference = A.mean(axis=0) - B.mean(axis=0)
    rounding = 1e-9 * (np.abs(A).max(axis=0) + np.abs(B).max(axis=0))
    difference[np.abs(difference) <= rounding] = 0.0
    return difference / np.sqrt(variance + np.finfo(float).tiny)


def _shifted(M, C, features):
    """Whether M is off C in some features taken together: by one half of the rows, in the other.

    Asked apart from the leading principal components of C, whose scatter would hide it.
    """
    if len(M) < 2:
        return False
    M, C = M[:, features], C[:, features]
    n_components = min(N_COMPONENTS, len(C) // 4, M.shape[1] // 2)
    if n_components:
        pca = PCA(n_components, svd_solver="randomized", random_state=0).fit(C)
        M, C = (rows - pca.inverse_transform(pca.transform(rows)) for rows in (M, C))
    direction = M[::2].mean(axis=0) - C[::2].mean(axis=0)
    along = [rows[1::2] @ direction[:, np.newaxis] for rows in (M, C)]
    return bool(_differ(*along)[0] > CLEAR)


def _varies_less(m, c, features):
    """Whether centred rows m vary clearly less than c in some features taken together."""
    squares = [np.sum(rows[:, features] ** 2, axis=1, keepdims=True) for rows in (c, m)]
    return bool(_differ(*squares)[0] > CLEAR)
