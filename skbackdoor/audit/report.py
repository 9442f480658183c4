"""What an audit found: one object, of which text, table, JSON and page are views."""

import json
from dataclasses import dataclass, field

import numpy as np

from .model import VERDICTS as MODEL_VERDICTS
from .model import ModelAudit
from .writing import write_text

#: Name and version of the JSON, whose schema is `schema.json` beside this file.
SCHEMA = "skbackdoor-audit/1"

#: What the verdicts mean.
VERDICTS = {
    "poison": (
        "Poison found",
        "Some rows share something that makes a classifier give their label to other rows as well,"
        " held-out ones that have nothing else to do with it. Do not use the model as it is.",
    ),
    "suspect": (
        "Suspects to look at",
        "Something stands out, but the evidence does not rule out a natural cause. Look at what is"
        " shown below; nothing was taken out.",
    ),
    "nothing": (
        "Nothing found",
        "No group of rows and no small change was found that acts as a backdoor. That is no proof"
        " that there is none: see what cannot be seen, below.",
    ),
}


@dataclass(frozen=True, eq=False)
class AuditGroup:
    """A group of rows that stands out, and what it does to a classifier.

    Attributes
    ----------
    number : int
        Its number on the page, from 1.
    label : label
        The label of its rows.
    indices : ndarray of shape (n_members,)
        Its rows, of the X of the audit.
    verdict : {"poison", "suspect"}
        "poison" where the detector says so and the recovered trigger works on held-out rows.
    reason : str
        Why, in one sentence.
    rule : str or None
        What its rows share, in words, where that is known.
    trigger : transformer or None
        What they share, as a trigger; None where it cannot be told as one.
    success : float
        Share of held-out clean rows of other classes that the classifier gives `label` once the
        trigger is put on them; nan without a trigger.
    interval : tuple of two floats
        95 % confidence interval of `success` (Clopper and Pearson).
    base_rate : float
        The same share without the trigger.
    n_samples : int
        Rows that `success` is of.
    group : PoisonGroup
        The detector's evidence.
    """

    number: int
    label: object
    indices: np.ndarray
    verdict: str
    reason: str
    rule: str | None
    trigger: object
    success: float
    interval: tuple
    base_rate: float
    n_samples: int
    group: object = field(repr=False, default=None)


@dataclass(frozen=True)
class Remedy:
    """One thing to do, and what it costs.

    Attributes
    ----------
    name : str
        What is done.
    accuracy : float
        Accuracy on held-out rows that are in no group.
    interval : tuple of two floats
        95 % confidence interval of `accuracy` (Clopper and Pearson). All remedies are judged on
        the same rows, so that their differences are surer than it.
    success : float
        The largest success of the recovered triggers afterwards; nan where there is none.
    rows : int
        Rows of the data that are left out or changed.
    code : str
        Lines to copy.
    """

    name: str
    accuracy: float
    interval: tuple
    success: float
    rows: int
    code: str


@dataclass(frozen=True)
class Withstood:
    """How much poison one setting of the classifier withstands, of one trigger.

    Attributes
    ----------
    setting : str
        The parameters.
    chosen : bool
        Whether it is the audited classifier's own.
    trigger : str
        The trigger in words.
    label : label
        The attacker's label: that of the fewest rows.
    base_rate : float
        Share of triggered rows that get it from the clean model.
    rate : float
        The breakdown rate, a share of poison in the training data: by its weight on an exact path,
        of whole rows where the learner is refitted.
    censored : bool
        Whether the breakdown rate is at least `rate`, no poison up to it having sufficed.
    collapse_rate : float
        The smallest share of poison at which accuracy has fallen by more than 0.05: a model that
        collapses gives the attacker's label to clean rows, too. Where the learner is refitted, the
        smallest of the shares that were tried.
    collapse_censored : bool
        Whether no poison up to `collapse_rate` makes it fall so far.
    accuracy : float
        Of the clean model, on held-out rows.
    parameters : tuple of (str, value)
        The setting, as `set_params` takes it.
    """

    setting: str
    chosen: bool
    trigger: str
    label: object
    base_rate: float
    rate: float
    censored: bool
    collapse_rate: float
    collapse_censored: bool
    accuracy: float
    parameters: tuple = ()

    def in_words(self):
        """The breakdown rate, and where the model collapses, as text."""
        if self.base_rate > 0.9:
            return f"none: {self.base_rate:.0%} without any poison"
        text = f"{'over ' * self.censored}{self.rate:.2%}"
        if self.collapse_censored:
            return text
        return f"{text}, collapses at {self.collapse_rate:.2%}"


@dataclass(frozen=True, eq=False)
class AuditReport:
    """Result of :func:`~skbackdoor.audit`: a verdict, and everything that it rests on.

    Attributes
    ----------
    verdict : {"poison", "suspect", "nothing"}
        "poison": a group of rows whose common part works as a trigger on held-out rows, or a given
        model that obeys a change that clean models do not. "suspect": something to look at.
    kind : {"table", "image", "text", "numbers"}
        What rows are.
    n_rows, n_searched : int
        Rows, and how many of them were searched; others were held against what was found.
    classes : tuple of (label, int)
        Labels and their numbers of rows.
    groups : tuple of AuditGroup
        Poison first, then suspects.
    is_poison : ndarray of bool of shape (n_rows,)
        Rows to leave out: of groups whose verdict is "poison".
    model : ModelAudit or None
        The audit of the classifier by changes that it obeys.
    accuracy : float
        Of the classifier on held-out rows that are in no group.
    remedies : tuple of Remedy
        What to do, the first being to leave all as it is.
    withstood : tuple of Withstood
        How much poison it would take.
    notes : tuple of str
        What was done, with which assumptions.
    limits : tuple of str
        What this audit cannot see.
    seconds : float
    """

    verdict: str
    kind: str
    n_rows: int
    n_searched: int
    classes: tuple
    groups: tuple
    is_poison: np.ndarray
    model: ModelAudit | None
    accuracy: float
    remedies: tuple
    withstood: tuple
    notes: tuple
    limits: tuple
    seconds: float
    title: str = "Audit"
    estimator: str = ""
    image_shape: tuple | None = None

    def summary(self):
        """The verdict and what it rests on, as plain text.

        Returns
        -------
        text : str
        """
        name, meaning = VERDICTS[self.verdict]
        lines = [f"{name.upper()}", meaning, ""]
        lines.append(
            f"{self.n_rows:,} rows ({self.kind}), {len(self.classes)} classes,"
            f" accuracy {self.accuracy:.3f}, {self.seconds:.0f} s"
        )
        for group in self.groups:
            lines.append(
                f"group {group.number}: {group.verdict}, {len(group.indices)} rows of label"
                f" {group.label!s}" + (f" that share {group.rule}" if group.rule else "")
            )
            lines.append("  " + group.reason)
        if self.model is not None:
            best = self.model.classes[0]
            lines.append(
                f"model: {MODEL_VERDICTS[self.model.verdict]} Strongest: {best.size} feature(s)"
                f" to class {best.label!s}, success {best.success:.0%}, clean models"
                f" {best.clean_success:.0%}, p = {best.p_value:.2g}"
            )
        if self.withstood:
            lines.append(
                "poison that it takes until a backdoor to class"
                f" {self.withstood[0].label!s} works on half of the rows:"
            )
        for name, rows in self._by_setting():
            rates = "; ".join(f"{row.trigger} {row.in_words()}" for row in rows)
            lines.append(f"  {name}, accuracy {rows[0].accuracy:.3f}: {rates}")
        for row in self.remedies:
            left = "" if np.isnan(row.success) else f", trigger then works on {row.success:.0%}"
            low, high = row.interval
            lines.append(
                f"{row.name}: accuracy {row.accuracy:.3f} ({low:.3f} to {high:.3f}){left}"
            )
        return "\n".join(lines)

    def _by_setting(self):
        """Breakdown rates by setting: (name, its rows) each."""
        by_setting = {}
        for row in self.withstood:
            name = row.setting + " (this one)" * row.chosen
            by_setting.setdefault(name, []).append(row)
        return by_setting.items()

    def to_frame(self):
        """The rows that stand out, as a table.

        Returns
        -------
        frame : DataFrame
            One row a row of the data and group: row, label, group, verdict, content (the label
            that a model without the group gives it), rule.
        """
        import pandas as pd

        columns = ["row", "label", "group", "verdict", "content", "rule"]
        return pd.DataFrame(self.rows(), columns=columns)

    def rows(self):
        """The rows that stand out: row, label, group, verdict, content, rule.

        Returns
        -------
        rows : list of tuple
        """
        found = []
        for group in self.groups:
            known = dict(
                zip(group.group.indices.tolist(), group.group.content_labels, strict=True)
                if group.group.content_labels is not None
                else ()
            )
            for row in group.indices.tolist():
                content = _plain(known.get(row))
                found.append(
                    (row, _plain(group.label), group.number, group.verdict, content, group.rule)
                )
        return found

    def to_dict(self):
        """Everything but pictures, as dicts, lists, numbers and texts.

        Returns
        -------
        report : dict
            As ``skbackdoor/audit/schema.json`` says. Numbers that are not known are None.
        """
        model = None
        if self.model is not None:
            model = {
                "verdict": self.model.verdict,
                "p_value": _plain(self.model.p_value),
                "smallest_p_value": _plain(self.model.smallest_p_value),
                "n_references": self.model.n_references,
                "classes": [
                    {
                        "label": _plain(change.label),
                        "size": change.size,
                        "success": _plain(change.success),
                        "base_rate": _plain(change.base_rate),
                        "clean_success": _plain(change.clean_success),
                        "strength": _plain(change.strength),
                        "p_value": _plain(change.p_value),
                        "change": in_words(change.trigger, self.image_shape),
                    }
                    for change in self.model.classes
                ],
            }
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "kind": self.kind,
            "n_rows": self.n_rows,
            "n_searched": self.n_searched,
            "classes": [{"label": _plain(label), "n_rows": n} for label, n in self.classes],
            "accuracy": _plain(self.accuracy),
            "groups": [
                {
                    "number": group.number,
                    "label": _plain(group.label),
                    "rows": group.indices.tolist(),
                    "verdict": group.verdict,
                    "reason": group.reason,
                    "rule": group.rule,
                    "trigger": None
                    if group.trigger is None
                    else in_words(group.trigger, self.image_shape),
                    "success": _plain(group.success),
                    "interval": [_plain(end) for end in group.interval],
                    "base_rate": _plain(group.base_rate),
                    "n_samples": group.n_samples,
                }
                for group in self.groups
            ],
            "model": model,
            "remedies": [
                {
                    "name": row.name,
                    "accuracy": _plain(row.accuracy),
                    "interval": [_plain(end) for end in row.interval],
                    "success": _plain(row.success),
                    "rows": row.rows,
                    "code": row.code,
                }
                for row in self.remedies
            ],
            "withstood": [
                {
                    "setting": row.setting,
                    "chosen": row.chosen,
                    "trigger": row.trigger,
                    "label": _plain(row.label),
                    "base_rate": _plain(row.base_rate),
                    "rate": _plain(row.rate),
                    "censored": row.censored,
                    "collapse_rate": _plain(row.collapse_rate),
                    "collapse_censored": row.collapse_censored,
                    "accuracy": _plain(row.accuracy),
                }
                for row in self.withstood
            ],
            "notes": list(self.notes),
            "limits": list(self.limits),
            "seconds": round(self.seconds, 2),
        }

    def to_json(self, path=None):
        """The report as JSON.

        Parameters
        ----------
        path : str or Path, default=None
            Where to write it as well, all at once or not at all.

        Returns
        -------
        text : str
            Its schema is ``skbackdoor/audit/schema.json``.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        if path is not None:
            write_text(path, text)
        return text

    def to_html(self, path=None, *, max_rows=40, samples=True):
        """The report as one page that needs no other file, no network and no script.

        Parameters
        ----------
        path : str or Path, default=None
            Where to write it as well, all at once or not at all.
        max_rows : int, default=40
            Most rows of the data that the page shows.
        samples : bool, default=True
            Whether it shows any: without, it holds rules, row numbers and numbers, and no picture.

        Returns
        -------
        text : str
        """
        from .html import page

        text = page(self, max_rows=max_rows, samples=samples)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self):
        from .html import framed

        return framed(self.to_html())


def in_words(trigger, image_shape=None):
    """What a trigger does, in words.

    Parameters
    ----------
    trigger : fitted transformer
    image_shape : tuple, default=None
        Of flat images.

    Returns
    -------
    text : str
    """
    if hasattr(trigger, "token"):
        return f"the words {trigger.token!r} put into the text"
    if hasattr(trigger, "features"):
        parts = (
            f"{_column(name)} = {_number(value)}"
            for name, value in zip(trigger.features, trigger.values_, strict=True)
        )
        return " and ".join(parts)
    if hasattr(trigger, "touched_"):
        touched = trigger.touched_
        n = int(touched.sum())
        if image_shape is None and 1 in touched.shape[:2] and touched.shape[1] == 1:
            where = np.flatnonzero(touched.ravel())[:8].tolist()
            places = f" ({', '.join(map(str, where))}{', ...' if n > 8 else ''})"
            return f"{n} of {touched.size} numbers changed{places}"
        if image_shape is not None:
            touched = touched.reshape(image_shape if len(image_shape) == 3 else (1, *image_shape))
        rows, columns = np.nonzero(touched.any(axis=0))
        return (
            f"{n} of {touched.size} pixel values changed, in rows {rows.min()} to {rows.max()}"
            f" and columns {columns.min()} to {columns.max()}"
        )
    return repr(trigger)


def _column(name):
    return f"column {name}" if isinstance(name, (int, np.integer)) else str(name)


def _number(value):
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _plain(value):
    """A label or a number as JSON has it; None for nan."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
