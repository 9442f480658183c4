"""A warning that one search or grid meets many times, given once."""

import warnings
from collections import deque
from time import monotonic

#: What was said to whom, and when: the last few listeners.
_SAID = deque(maxlen=8)


def warn_once(key, message, category=UserWarning, *, stacklevel=1):
    """Warn, unless whoever listens was told of this just now.

    Python itself gives a warning once a place, but forgets what it gave whenever filters are set
    or restored, which scikit-learn does around every fit of a search. A listener is where
    warnings go (the console, or a ``catch_warnings(record=True)``) under filters of equal actions.

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
    listener = (
        warnings.showwarning,
        getattr(warnings, "_showwarnmsg_impl", None),
        [(action, kind) for action, _, kind, *_ in warnings.filters],
    )
    said = next((said for known, said in _SAID if known == listener), None)
    if said is None:
        said = {}
        _SAID.append((listener, said))
    given = said.get((category, key))
    if given is None or monotonic() - given > 10.0:  # seconds: a later call is told again
        warnings.warn(message, category, stacklevel=stacklevel + 1)
        said[category, key] = monotonic()  # not where the warning was raised as an error
