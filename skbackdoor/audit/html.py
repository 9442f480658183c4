"""The page: a report in one file, readable without a network and without script."""

import csv
import html
import io
import re
from numbers import Integral

import numpy as np

from .changes import is_text, value_range
from .pictures import data_uri, picture
from .report import VERDICTS, in_words

#: Members of a group that are shown, columns of a table, and characters of a cell or a text.
MEMBERS, COLUMNS, CELL, TEXT = 6, 8, 60, 280
#: What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def page(report, *, max_rows=40, samples=True):
    """The report as one HTML page.

    Parameters
    ----------
    report : AuditReport
    max_rows : int, default=40
        Most rows of the data on it.
    samples : bool, default=True
        Whether there are any.

    Returns
    -------
    text : str

    Raises
    ------
    ImportError
        jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError(
            "The page of an audit needs jinja2: pip install 'skbackdoor[audit]'. summary() and"
            " to_json() need nothing."
        ) from error
    if not isinstance(max_rows, Integral) or isinstance(max_rows, bool) or max_rows < 0:
        raise ValueError(f"max_rows={max_rows!r} must be an int, 0 or more.")
    if not isinstance(samples, (bool, np.bool_)):
        raise ValueError(f"samples={samples!r} must be True or False.")
    environment = Environment(
        loader=PackageLoader("skbackdoor.audit", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    shown = max_rows if samples else 0
    groups = []
    for group in report.groups:
        n = min(MEMBERS, len(group.indices), shown // 2 // max(1, len(report.groups)))
        groups.append((group, _view(report, group, n)))
    return environment.get_template("page.html").render(
        report=report,
        verdict=VERDICTS[report.verdict],
        groups=groups,
        samples=samples,
        shown=sum(view["n_rows"] for _, view in groups),
        words=in_words,
        changes=_changes(report, samples),
        settings=_settings(report),
        rows_csv=data_uri("text/csv", rows_csv(report)),
        rows_json=data_uri("application/json", report.to_json()),
    )


def framed(text):
    """A page inside another one, with its own style: what a notebook shows."""
    return (
        '<iframe title="Audit" sandbox="allow-downloads" style="width:100%;height:640px;border:0"'
        f' srcdoc="{html.escape(text, quote=True)}"></iframe>'
    )


def rows_csv(report):
    """The rows that stand out as CSV, without what a spreadsheet takes for a formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["row", "label", "group", "verdict", "content", "rule"])
    for row in report.rows():
        writer.writerow([_harmless(value) for value in row])
    return file.getvalue()


def _harmless(value):
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _percent(share):
    return "n/a" if share != share else f"{share:.0%}"


def _changes(report, samples):
    """What the model's own audit found, one line a class."""
    if report.model is None:
        return []
    shape = report.image_shape
    found = []
    for change in report.model.classes[:10]:
        mask = None
        if samples and shape is not None and hasattr(change.trigger, "mask_"):
            size = change.trigger.mask_.shape
            low, high = change.trigger.value_range
            values = np.where(change.trigger.touched_, change.trigger.shift_, (low + high) / 2)
            mask = picture(values, size, low, high)
        found.append((change, in_words(change.trigger, shape), mask))
    return found


def _settings(report):
    """Breakdown rates by trigger: [(setting, chosen, accuracy)], [(trigger, [rate, ...])]."""
    settings = list(dict.fromkeys((r.setting, r.chosen, r.accuracy) for r in report.withstood))
    by_trigger = {}
    for row in report.withstood:
        by_trigger.setdefault(row.trigger, []).append(row.in_words())
    return settings, list(by_trigger.items())


def _view(report, group, n):
    """What is shown of a group: pictures, a table or texts; of n members."""
    evidence = group.group
    view = {"n_rows": 0, "pictures": [], "mask": None, "columns": [], "cells": [], "texts": []}
    if n == 0:
        return view
    known = evidence.neighbors is not None
    shown = np.linspace(0, len(evidence.indices) - 1, n).round().astype(int)
    members = evidence.samples(evidence.indices[shown])
    near = evidence.samples(evidence.neighbors[shown, 0]) if known else None
    labels = evidence.content_labels[shown] if known else [None] * n
    view["n_rows"] = n * (2 if known else 1)
    if is_text(members):
        view["texts"] = _texts(evidence, shown, members, near, labels)
    elif report.image_shape is not None:
        _add_pictures(view, report, group, shown, members, near, labels)
    else:
        view["columns"], view["cells"] = _table(evidence, group, shown, members, near, labels)
    return view


def _add_pictures(view, report, group, shown, members, near, labels):
    evidence, shape = group.group, report.image_shape
    low, high = value_range(np.asarray(members))
    triggered = group.trigger.transform(near) if group.trigger is not None else near
    for k, row in enumerate(evidence.indices[shown]):
        images = [(f"row {row}, labelled {group.label}", members[k])]
        if near is not None:
            images.append((f"nearest row of {labels[k]}", near[k]))
            images.append(("the same with what is shared", triggered[k]))
        view["pictures"].append([(text, picture(x, shape, low, high)) for text, x in images])
    if group.trigger is not None and hasattr(group.trigger, "mask_"):
        mask = group.trigger.mask_ + (group.trigger.touched_ & (group.trigger.mask_ == 0)) * 0.5
        size = shape if len(shape) == 3 else (1, *shape)
        view["mask"] = picture(mask.reshape(size), size, 0.0, 1.0)


def _texts(evidence, shown, members, near, labels):
    """Texts in pieces, those of the rule marked: [(heading, [(piece, marked)])]."""
    words = "|".join(re.escape(word) for word in evidence.shared)
    rule = re.compile(rf"(\b(?:{words})\b)" if words else r"((?!))", re.IGNORECASE)
    made = []
    near = near if near is not None else [None] * len(shown)
    for row, text, other, label in zip(evidence.indices[shown], members, near, labels,
                                       strict=True):  # fmt: skip
        pieces = rule.split(_cut(text, TEXT))
        made.append((
            f"row {row}, labelled {evidence.label}",
            [(piece, k % 2 == 1) for k, piece in enumerate(pieces) if piece],
        ))  # fmt: skip
        if other is not None:
            made.append((f"nearest text of {label}", [(_cut(other, TEXT), False)]))
    return made


def _table(evidence, group, shown, members, near, labels):
    """Columns in front those of the rule, and rows: (heading, is_member, [(cell, marked)])."""
    frame = hasattr(members, "iloc")
    names = list(members.columns) if frame else list(range(members.shape[1]))
    first = [names.index(key) if key in names else int(key) for key, _ in evidence.shared]
    if not first and group.trigger is not None and hasattr(group.trigger, "touched_"):
        first = np.flatnonzero(group.trigger.touched_.ravel())[: COLUMNS // 2].tolist()
    order = (first + [j for j in range(len(names)) if j not in first])[:COLUMNS]
    columns = [str(names[j]) if frame else f"column {names[j]}" for j in order]
    rows = []
    for k, row in enumerate(evidence.indices[shown]):
        kinds = [(f"row {row}, labelled {evidence.label}", True, members)]
        if near is not None:
            kinds.append((f"nearest row of {labels[k]}", False, near))
        for heading, is_member, part in kinds:
            values = [_value(part, k, j) for j in order]
            cells = [
                (_cut(v, CELL), is_member and j in first)
                for v, j in zip(values, order, strict=True)
            ]
            rows.append((heading, is_member, cells))  # fmt: skip
    return columns, rows


def _value(part, k, j):
    value = part.iloc[k, j] if hasattr(part, "iloc") else part[k, j]
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _cut(text, length):
    text = " ".join(str(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"
