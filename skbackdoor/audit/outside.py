"""Models from outside: opened by skops, whose file runs no code, and nothing else."""

from pathlib import Path

from .reading import CannotRead


def open_model(path, trusted=()):
    """Open a fitted model that was saved by skops.

    Parameters
    ----------
    path : str or Path
        A .skops file.
    trusted : sequence of str
        Types beyond those that skops trusts itself, by full name.

    Returns
    -------
    model : fitted estimator

    Raises
    ------
    CannotRead
        A pickle or joblib file; types that are not trusted; no classifier.
    """
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle", ".joblib", ".sav", ".model", ".dill"):
        raise CannotRead(
            f"{path.name}: a pickle or joblib file runs whatever code it holds as soon as it is"
            " opened, before anything can be looked at, so that it is refused. Where you trust it,"
            ' convert it:\n  python -c "import joblib, skops.io as s;'
            f" s.dump(joblib.load('{path.name}'), '{path.stem}.skops')\""
        )
    try:
        from skops import io
    except ImportError as error:
        raise CannotRead("--model needs skops: pip install 'skbackdoor[audit]'.") from error
    if not path.exists():
        raise CannotRead(f"{path} is not there.")
    try:
        unknown = io.get_untrusted_types(file=path)
        refused = sorted(set(unknown) - set(trusted))
        if refused:
            listed = "\n".join(f"  {name}" for name in refused)
            options = " ".join(f"--trust {name}" for name in refused)
            raise CannotRead(
                f"{path.name} holds types that skops does not trust:\n{listed}\nIf you know them"
                f" to be harmless, add {options}"
            )
        model = io.load(path, trusted=list(unknown))
    except CannotRead:
        raise
    except Exception as error:  # skops raises of all kinds at a file that is none of its own
        raise CannotRead(f"{path.name} is no model that skops can open: {error}") from error
    if not hasattr(model, "predict") or not hasattr(model, "classes_"):
        raise CannotRead(f"{path.name} holds a {type(model).__name__}, no fitted classifier.")
    return model
