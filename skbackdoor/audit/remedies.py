"""What can be done about poison, and what each remedy costs."""

import numpy as np
from sklearn.base import clone

from .proof import confidence_interval, fitted_on
from .report import Remedy


def remedies_of(
    unfitted, model, X, y, train, groups, is_poison, X_clean, y_clean, withstood, code
):
    """What can be done, with its accuracy and what is left of the triggers."""
    poison = [group for group in groups if group.verdict == "poison"]
    judged = poison, X_clean, y_clean
    made = [_remedy("Leave it as it is", model, *judged, 0, f"{code}model = estimator.fit(X, y)")]
    if poison:
        use = (
            f"{code}from skbackdoor import LeaveGroupOutDetector, SanitizedClassifier\n"
            "detector = LeaveGroupOutDetector(representation)\n"
            "model = SanitizedClassifier(estimator, detector, action={!r}).fit(X, y)"
        ).replace("{!r}", "{action}")
        n = int(is_poison.sum())
        dropped = fitted_on(unfitted, X, y, train[~is_poison[train]])
        lines = use.replace("{action}", '"drop"')
        made.append(_remedy("Drop these rows", dropped, *judged, n, lines))
        labels, told = y.copy(), ~is_poison
        for group in poison:
            content = group.group.content_labels
            if content is not None:
                rows, new = group.group.indices, content != group.label
                labels[rows[new]], told[rows[new]] = content[new], True
        if told[is_poison].any():
            relabelled = fitted_on(unfitted, X, labels, train[told[train]])
            lines = use.replace("{action}", '"relabel"')
            name = "Give them the label of their content"
            made.append(_remedy(name, relabelled, *judged, n, lines))
    stronger = _stronger(withstood)
    if stronger is not None:
        parameters = ", ".join(f"{key}={value!r}" for key, value in stronger.parameters)
        regularised = fitted_on(
            clone(unfitted).set_params(**dict(stronger.parameters)), X, y, train
        )
        lines = f"{code}model = estimator.set_params({parameters}).fit(X, y)"
        name = f"Regularise more: {stronger.setting}, with the same rows"
        made.append(_remedy(name, regularised, *judged, 0, lines))
    return tuple(made)


def _stronger(withstood):
    """The setting that withstands most for at most 0.02 of accuracy; None if it is the own one."""
    settings = {}
    for row in withstood:
        settings.setdefault(row.setting, []).append(row)
    chosen = [rows[0] for rows in settings.values() if rows[0].chosen]
    if not chosen:
        return None
    good = [rows for rows in settings.values() if rows[0].accuracy >= chosen[0].accuracy - 0.02]
    best = max(good, key=lambda rows: min(row.rate for row in rows))
    return None if best[0].chosen else best[0]


def _remedy(name, model, poison, X, y, rows, code):
    """Accuracy on clean rows, and the largest success of the recovered triggers."""
    left = [group.group.success(model, X, y).attack_success_rate for group in poison]
    accuracy = float(np.mean(model.predict(X) == y))
    interval = confidence_interval(accuracy, len(y))
    return Remedy(name, accuracy, interval, max(left, default=np.nan), rows, code)
