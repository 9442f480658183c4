"""A group of suspected rows, drawn: some of them, rows like them, and what they share."""

import re

import numpy as np
from sklearn.base import clone

from .learning_curve import check_matplotlib
from .trigger import check_count, draw_sample, images_of

_SHARED, _TYPICAL = "#D55E00", "#555555"
#: Columns of a table that are shown beside those of the rule, and characters of a cell.
_COLUMNS, _CELL = 5, 14
#: Characters of a text before the word, and after it.
_BEFORE, _AFTER = 28, 44


class PoisonGroupDisplay:
    """A group of suspected rows: some members, their nearest content rows, and what they share.

    Images and series: a row of members, one of the nearest rows of the class that a model without
    the group takes them for, and one of the same with the recovered trigger, which should look
    like the members. The last column is what they share: the mean difference, opacity, and
    what is added. Tables with a rule, or not of numbers alone: members and their nearest content
    rows, the columns of the rule in front. Texts: the words of the rule in their contexts. Use
    :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    group : PoisonGroup
        Of a fitted detector.
    n_samples : int, default=5
        Members shown.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of flat images; None draws 2-D data that are
        no images as curves.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (3, n_samples + 1) or matplotlib Axes
        Of images and curves, or of the table or the texts.
    members_ : ndarray of shape (n_samples,)
        The rows shown, of the X of the detector's `fit`.

    Examples
    --------
    >>> from skbackdoor import Attack, PatchTrigger, PoisonGroupDisplay, load_digits_pair
    >>> from skbackdoor.detection import LeaveGroupOutDetector
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(
    ...     PatchTrigger(size=2, image_shape=(8, 8)), target=1, placement="replace",
    ...     random_state=0)
    >>> X, y, _ = attack.fit(X, y).poison(X, y)
    >>> display = PoisonGroupDisplay.from_estimator(
    ...     LeaveGroupOutDetector(), X, y, image_shape=(8, 8))
    >>> display.axes_.shape
    (3, 6)
    """

    def __init__(self, group, *, n_samples=5, image_shape=None):
        self.group, self.n_samples, self.image_shape = group, n_samples, image_shape

    @classmethod
    def from_estimator(cls, detector, X, y, *, n_samples=5, image_shape=None, ax=None):
        """Look for poison, and draw the most suspicious group.

        Parameters
        ----------
        detector : PoisonDetector
            It is cloned and fitted. The groups of one that is fitted already are drawn by
            :meth:`from_results`.
        X : array-like of shape (n_rows, ...)
            Training data.
        y : array-like of shape (n_rows,)
            Their labels.
        n_samples : int, default=5
            Members shown.
        image_shape : tuple of two or three int, default=None
            (height, width) or (channels, height, width) of flat images.
        ax : matplotlib Axes, or array of them of shape (3, n_samples + 1), default=None
            Where to draw, an array for images and curves; None makes a figure.

        Returns
        -------
        display : PoisonGroupDisplay

        Raises
        ------
        ValueError
            No group was found.
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        groups = clone(detector).fit(X, y).groups_
        if not groups:
            raise ValueError(
                f"{type(detector).__name__} found no group in these data: nothing can be drawn."
            )
        return cls(groups[0], n_samples=n_samples, image_shape=image_shape).plot(ax=ax)

    @classmethod
    def from_results(cls, group, *, n_samples=5, image_shape=None, ax=None):
        """Draw a group that was found already.

        Parameters
        ----------
        group : PoisonGroup
            One of ``detector.groups_``.
        n_samples : int, default=5
            Members shown.
        image_shape : tuple of two or three int, default=None
            (height, width) or (channels, height, width) of flat images.
        ax : matplotlib Axes, or array of them of shape (3, n_samples + 1), default=None
            Where to draw, an array for images and curves; None makes a figure.

        Returns
        -------
        display : PoisonGroupDisplay
        """
        return cls(group, n_samples=n_samples, image_shape=image_shape).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the group.

        Parameters
        ----------
        ax : matplotlib Axes, or array of them of shape (3, n_samples + 1), default=None
            Where to draw, an array for images and curves; None makes a figure.

        Returns
        -------
        self : PoisonGroupDisplay
        """
        plt = check_matplotlib("PoisonGroupDisplay")
        check_count("n_samples", self.n_samples)
        group, n = self.group, min(self.n_samples, len(self.group.indices))
        known = group.content_labels is not None
        by_content = np.argsort(group.content_labels if known else group.indices, kind="stable")
        shown = by_content[np.linspace(0, len(by_content) - 1, n).round().astype(int)]
        self.members_ = group.indices[shown]
        members = group.samples(self.members_)
        words = getattr(members, "ndim", 1) == 1  # else columns
        if not (group.shared or words) and np.asarray(members).dtype.kind in "biuf":
            return self._draw_images(shown, ax, plt)
        if ax is None:
            size = (8.0, 0.3 * 2 * n + 1.5) if words else (9.5, 0.3 * 2 * n + 1.4)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.axes_, self.figure_ = ax, ax.figure
        ax.set_axis_off()
        ax.set_title(self._title(), fontsize="medium", parse_math=False)
        (self._draw_texts if words else self._draw_table)(shown, ax)
        return self

    def _title(self):
        """What speaks for the group, in two lines."""
        group = self.group
        rule = f" share {group.rule}" if group.rule else ""
        first = f"{len(group.indices)} rows of label {group.label}{rule}: {group.verdict}"
        if group.content_labels is None:
            return first
        numbers = f"cohesion {group.cohesion:.2f}, coverage {group.coverage:.2f}"
        if group.clean_label and group.shared:
            given = f"which gives it to {group.transfer:.0%} of others"
            return f"{first}\nrightly of that label, {given}; {numbers}"
        if group.clean_label:
            return f"{first}\nrightly of that label, but apart from its other rows; {numbers}"
        content, counts = np.unique(group.content_labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        likest = ", ".join(str(label) for label in content[order])
        more = ", ..." if len(content) > 3 else ""
        return (
            f"{first}\nwithout them {group.flip:.0%} get another label ({likest}{more}); {numbers}"
        )

    def _draw_images(self, shown, ax, plt):
        group, n = self.group, len(shown)
        shape = self.image_shape
        shape = shape if shape is None or len(shape) == 3 else (1, *shape)
        trigger = group.trigger()
        near = group.samples(group.neighbors[shown, 0])
        parts = (group.samples(self.members_), near, trigger.transform(near))
        members, near, triggered = (images_of(part, shape, type(self).__name__) for part in parts)
        means = (
            np.mean(np.asarray(group.samples(rows), dtype=float), axis=0, keepdims=True)
            for rows in (group.indices, group.controls.ravel())
        )
        difference = images_of(np.subtract(*means), shape, type(self).__name__)[0]
        size = difference.shape
        opacity, added = trigger.mask_.reshape(size), trigger.shift_.reshape(size)
        if ax is None:
            tall = 1.5 if size[1] == 1 else 1.5 * min(2.0, max(0.5, size[1] / size[2]))
            _, ax = plt.subplots(
                3,
                n + 1,
                figsize=(max(1.5 * (n + 1) + 0.8, 6.4), 3 * (tall + 0.25) + 0.7),
                squeeze=False,
                layout="constrained",
            )
        axes = np.asarray(ax, dtype=object)
        if axes.shape != (3, n + 1):
            raise ValueError(f"ax must have the shape {(3, n + 1)}; got {axes.shape}.")
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        low, high = trigger.value_range
        for row, images in enumerate((members, near, triggered)):
            for axis, image in zip(axes[row], images, strict=False):
                draw_sample(axis, image, (low, high))
        rows, nearest = self.members_, group.neighbors[shown, 0]
        for k, content in enumerate(group.content_labels[shown]):
            axes[0, k].set_title(f"row {rows[k]}\nlabel {group.label}", fontsize="medium")
            axes[1, k].set_title(f"row {nearest[k]}\nlabel {content}", fontsize="medium")
        for axis, name in zip(
            axes[:, 0],
            ("members", "nearest rows\nof content", "with what is\nshared"),
            strict=True,
        ):
            axis.set_ylabel(name)
        _draw_shared(axes[0, n], difference, "mean difference", np.abs(difference).max())
        _draw_shared(axes[1, n], opacity, "opacity", None)
        _draw_shared(axes[2, n], added, "added", np.abs(added).max())
        self.figure_.suptitle(self._title(), fontsize="medium", parse_math=False)
        return self

    def _draw_table(self, shown, ax):
        group = self.group
        rows, labels = self.members_, [f"labelled {group.label}"] * len(shown)
        if group.neighbors is not None:
            rows = np.column_stack([rows, group.neighbors[shown, 0]]).ravel()
            nearest = [f"nearest {content}" for content in group.content_labels[shown]]
            labels = [label for pair in zip(labels, nearest, strict=True) for label in pair]
        names, cells = _columns(group.samples(rows), [column for column, _ in group.shared])
        n_rule = len(group.shared)
        cells = np.array([names, *cells], dtype=object)[:, : n_rule + _COLUMNS]
        cells = [[_cut(cell, _CELL) for cell in line] for line in cells]
        table = ax.table(
            cells[1:],
            colLabels=cells[0],
            rowLabels=[f"row {row}, {label}" for row, label in zip(rows, labels, strict=True)],
            cellLoc="center",
            colWidths=[2 + max(map(len, column)) for column in zip(*cells, strict=True)],
            bbox=(0.22, 0.0, 0.78, 1.0),
        )
        table.auto_set_font_size(False)
        table.set_fontsize(8.5)
        for (line, column), cell in table.get_celld().items():
            cell.set_edgecolor("#BBBBBB")
            cell.get_text().set_parse_math(False)
            is_member = line % 2 == 1 or group.neighbors is None
            if line > 0 and is_member:
                cell.set_facecolor("#EEEEEE")
            if 0 <= column < n_rule and (line == 0 or is_member):
                cell.get_text().set(color=_SHARED, weight="bold")

    def _draw_texts(self, shown, ax):
        group = self.group
        words = "|".join(map(re.escape, group.shared))
        word = re.compile(rf"\b({words})\b" if words else r"(?!)", re.IGNORECASE)
        texts = list(group.samples(self.members_))
        n = len(texts)
        ax.set(xlim=(0, 1), ylim=(2 * n + 2, 0))
        style = {"family": "monospace", "fontsize": 8.5, "va": "center", "parse_math": False}
        left, middle = 0.12, 0.47
        heading = {"fontsize": "medium", "weight": "bold", "va": "center", "parse_math": False}
        ax.text(0, 0.5, f"labelled {group.label}", **heading)
        for line, (row, text) in enumerate(zip(self.members_, texts, strict=True), start=1):
            text = " ".join(text.split())
            ax.text(0, line + 0.5, f"row {row}", **style)
            found = word.search(text)
            if found is None:
                ax.text(left, line + 0.5, _cut(text, _BEFORE + _AFTER), **style)
                continue
            before, after = text[: found.start()][-_BEFORE:], text[found.end() :]
            ax.text(middle, line + 0.5, before, ha="right", **style)
            bold = ax.text(middle, line + 0.5, found[0], color=_SHARED, weight="bold", **style)
            ax.annotate(
                _cut(after, _AFTER), (1, 0.5), xycoords=bold, annotation_clip=False, **style
            )
        if group.neighbors is None:
            return
        ax.text(0, n + 1.5, "nearest rows of content", **heading)
        near = group.neighbors[shown, 0]
        pairs = zip(near, list(group.samples(near)), group.content_labels[shown], strict=True)
        for line, (row, text, content) in enumerate(pairs, start=n + 2):
            text = " ".join(text.split())
            ax.text(0, line + 0.5, f"row {row}", **style)
            ax.text(
                left,
                line + 0.5,
                f"{content}: {_cut(text, _BEFORE + _AFTER)}",
                color=_TYPICAL,
                **style,
            )


def _draw_shared(axis, values, name, largest):
    """Draw what is shared: gray is 0 and white the largest, or black 0 and white 1."""
    signed = largest is not None
    unit = largest if signed and largest > 0 else 1.0
    draw_sample(axis, values / unit, (-1.0 if signed else 0.0, 1.0), values[:, 0])
    axis.set_title(
        f"{name}\nwhite: {unit:.3g}" if values.shape[1] > 1 else name, fontsize="medium"
    )
    for spine in axis.spines.values():
        spine.set(color=_SHARED, linewidth=2)


def _columns(X, first):
    """Names and values as text of the columns of a table, some of them in front."""
    frame = hasattr(X, "iloc")
    names = list(X.columns) if frame else [f"column {j}" for j in range(X.shape[1])]
    front = [names.index(key) if frame and key in names else int(key) for key in first]
    order = front + [j for j in range(len(names)) if j not in front]
    X = X.toarray() if hasattr(X, "toarray") else X
    values = [np.asarray(X.iloc[:, j] if frame else X[:, j]) for j in order]
    cells = np.array([[_text(value) for value in column] for column in values], dtype=object).T
    return [str(names[j]) for j in order], cells


def _text(value):
    """A value of a table in one line."""
    return (
        f"{value:.4g}" if isinstance(value, (float, np.floating)) else " ".join(str(value).split())
    )


def _cut(text, length):
    return text if len(text) <= length else text[: length - 3] + "..."
