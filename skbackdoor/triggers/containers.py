"""pandas in and out, shared by all triggers."""


def is_frame(X):
    return hasattr(X, "iloc") and getattr(X, "ndim", None) == 2


def set_column(frame, position, values):
    """Set a column of `frame` in place and keep its dtype (pandas would infer another)."""
    import pandas as pd

    column = pd.Series(values, index=frame.index).astype(frame.dtypes.iloc[position])
    frame.isetitem(position, column)


def name_columns(trigger, frame):
    """Give `frame` the names of `get_feature_names_out` if the trigger was fitted on none."""
    if not hasattr(trigger, "feature_names_in_") and hasattr(trigger, "n_features_in_"):
        if all(isinstance(name, str) for name in frame.columns):
            frame.columns = trigger.get_feature_names_out()
    return frame


def knows_columns(fitted):
    """For `available_if`: whether the trigger was fitted on columns, or not at all.

    After a fit on image batches, lists or Series (`fitted` is there, but no number of features)
    there are no columns to name, and output that scikit-learn makes a table of
    (``set_output``) is left as it is.
    """

    def check(trigger):
        return not hasattr(trigger, fitted) or hasattr(trigger, "n_features_in_")

    return check


def forget_columns(trigger):
    """Drop what an earlier fit on 2-D data knew of columns, for a fit on a batch without any."""
    for attribute in ("n_features_in_", "feature_names_in_"):
        trigger.__dict__.pop(attribute, None)
