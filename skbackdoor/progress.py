"""Progress of long loops."""


def progress(results, total, what):
    """Show a bar on stderr once a loop has taken ten seconds, where tqdm is installed.

    Parameters
    ----------
    results : iterable
        What to loop over.
    total : int or None
        How many there are; None where that is not known.
    what : str
        What the bar says.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return results
    return tqdm(results, total=total, desc=what, delay=10.0)
