"""A warning that one search or grid meets many times, given once."""

import warnings
from collections import deque

#: What was said under which list of warning filters, the last few of them.
_SAID = deque(maxlen=8)


def warn_once(key, message, category=UserWarning, *, stacklevel=1):
    """Warn, unless this was said already since the warning filters last changed hands.

    Python itself gives a warning once a place, but forgets what it gave whenever filters are set
    or restored, which scikit-learn does around every fit of a search. It sets the same list there
    each time, so what was said is remembered by that list.

    Parameters
    ----------
    key : str
        What the warning is about, without the numbers by which one fold differs from another.
    message : str
        Its text.
    category : type, default=UserWarning
        Its class.
    stacklevel : int, default=1
        As in :func:`warnings.warn`: 1 is the line that calls this function.
    """
    said = next((said for filters, said in _SAID if filters is warnings.filters), None)
    if said is None:
        said = set()
        _SAID.append((warnings.filters, said))
    if (category, key) not in said:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
        said.add((category, key))
