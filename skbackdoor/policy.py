"""Which rows are poisoned, with which label, and which rows the copies replace."""

from collections.abc import Mapping
from numbers import Real

import numpy as np


def resolve_targets(target, source_classes, classes):
    """Which label each class gets when it is poisoned.

    Parameters
    ----------
    target : label, "next" or mapping
        A class label (all-to-one), ``"next"`` (class i becomes class i + 1 modulo the number
        of classes, in the order of `classes`), or ``{source: target}``.
    source_classes : list of labels or None
        The classes that may be poisoned; None is every class that has another target.
    classes : ndarray of shape (n_classes,)
        The labels, in order.

    Returns
    -------
    target_of : ndarray of shape (n_classes,)
        Index into `classes` of the attacker's label; -1 for a class that is no source.

    Raises
    ------
    ValueError
        A target or a source that is not among `classes`, a source that is its own target, or
        no source at all.
    """
    n_classes = len(classes)
    position = {label: i for i, label in enumerate(classes.tolist())}

    def index(label, role):
        label = label.item() if isinstance(label, np.generic) else label
        try:
            return position[label]
        except (KeyError, TypeError):
            raise ValueError(
                f"{role} {label!r} is not among the class labels {classes.tolist()}; give one of"
                " them."
            ) from None

    if isinstance(target, str) and target == "next":
        if "next" in position:
            raise ValueError(
                "target='next' is ambiguous, because one class label is 'next': give a mapping"
                " {source: target} instead."
            )
        target_of = (np.arange(n_classes) + 1) % n_classes
    elif isinstance(target, Mapping):
        target_of = np.full(n_classes, -1)
        for source, label in target.items():
            i = index(source, "target: source class")
            target_of[i] = index(label, f"target of class {source!r}:")
            if target_of[i] == i:
                raise ValueError(
                    f"target maps class {source!r} to itself: a source class cannot be its own"
                    " target."
                )
    else:
        target_of = np.full(n_classes, index(target, "target"))

    own = target_of == np.arange(n_classes)
    if source_classes is not None:
        sources = [index(label, "source_classes:") for label in np.ravel(source_classes)]
        for i in sources:
            if own[i]:
                raise ValueError(
                    f"source_classes holds {classes.tolist()[i]!r}, which is its own target"
                    f" (target={target!r}): take it out of source_classes."
                )
            if target_of[i] < 0:
                raise ValueError(
                    f"source_classes holds {classes.tolist()[i]!r}, for which"
                    f" target={target!r} names no target label."
                )
        own[np.setdiff1d(np.arange(n_classes), sources)] = True
    target_of = np.where(own, -1, target_of)
    if np.all(target_of < 0):
        raise ValueError(
            f"target={target!r} with source_classes={source_classes!r} leaves no class to"
            f" poison; the class labels are {classes.tolist()}."
        )
    return target_of


class Policy:
    """Which rows are poisoned, with which label, and which rows the copies replace.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, in order.
    target, source_classes, poisoning_rate, placement, victims, clean_label
        As in :class:`~skbackdoor.Attack`.

    Attributes
    ----------
    target_of : ndarray of shape (n_classes,)
        Index of the attacker's label for each class; -1 for one that is no source.
    label_of : ndarray of shape (n_classes,)
        Index of the label that a victim of each class gets; -1 for one that has no victims. It is
        `target_of`, but with clean labels.

    Raises
    ------
    ValueError
        What :func:`resolve_targets` raises; clean labels with "supplant".
    """

    def __init__(
        self, classes, *, target, source_classes, poisoning_rate, placement, victims, clean_label
    ):
        self.classes, self.target, self.source_classes = classes, target, source_classes
        self.poisoning_rate, self.placement, self.victims = poisoning_rate, placement, victims
        self.clean_label = clean_label
        self.target_of = self.label_of = resolve_targets(target, source_classes, classes)
        if clean_label:
            if placement == "supplant":
                raise ValueError(
                    "clean_label=True triggers rows of the target class, so placement='supplant'"
                    " would replace each by another row of its own class; use placement='replace'."
                )
            targets = np.unique(self.target_of[self.target_of >= 0])
            self.label_of = np.full(len(classes), -1)
            self.label_of[targets] = targets

    def choose(self, y_index, random_state):
        """Which rows are poisoned, and which rows the copies replace.

        Parameters
        ----------
        y_index : ndarray of shape (n_samples,)
            Indices into `classes` of the labels.
        random_state : RandomState
            What is drawn comes from it.

        Returns
        -------
        rows : ndarray of shape (m,)
        places : ndarray of shape (m,), or (0,) where copies are appended
        """
        if isinstance(self.victims, str):
            chosen = [
                random_state.choice(pool, size, replace=False)
                for pool, size in self._pools(y_index)
            ]
            rows = np.sort(np.concatenate(chosen))
        else:
            rows = self._given_victims(y_index)
        if self.placement == "append":
            return rows, rows[:0]
        if self.placement == "replace":
            return rows, rows
        labels, places = self.label_of[y_index[rows]], np.empty_like(rows)
        for label in np.unique(labels):
            mine = labels == label
            free = np.setdiff1d(np.flatnonzero(y_index == label), rows)
            if mine.sum() > len(free):
                raise ValueError(
                    f"placement='supplant' needs {mine.sum()} clean rows of class"
                    f" {self.classes.tolist()[label]!r} that copies could replace, but only"
                    f" {len(free)} are not poisoned themselves; lower"
                    f" poisoning_rate={self.poisoning_rate}."
                )
            places[mine] = np.sort(random_state.choice(free, mine.sum(), replace=False))
        order = np.argsort(places)
        return rows[order], places[order]

    def _pools(self, y_index):
        """The sets of rows that victims are drawn from, and how many from each."""
        n_samples, rate = len(y_index), self.poisoning_rate
        labels, class_of = self.label_of[y_index], np.arange(len(self.classes))
        if self.placement == "supplant":
            groups, sizes = self.label_of, np.bincount(y_index, minlength=len(self.classes))
            what = "target class"
        elif isinstance(rate, Mapping):
            groups = np.where(self.label_of >= 0, class_of, -1)
            sizes = np.bincount(y_index, minlength=len(self.classes))
            what = "class"
        else:
            groups, sizes, what = np.where(self.label_of >= 0, 0, -1), [n_samples], "rows"
        wanted = self._rates(np.unique(groups[groups >= 0]).tolist())
        pools = []
        for group, rate in wanted.items():
            pool = np.flatnonzero((labels >= 0) & (groups[y_index] == group))
            size = int(np.floor(rate * sizes[group] + 1e-9))
            whose = (
                "rows" if what == "rows" else f"rows of {what} {self.classes.tolist()[group]!r}"
            )
            if size == 0 and (isinstance(self.poisoning_rate, Mapping) or len(wanted) == 1):
                raise ValueError(
                    f"poisoning_rate={self.poisoning_rate} of n_samples={sizes[group]} {whose} is"
                    f" no poisoned sample at all; give at least {1 / max(sizes[group], 1):.4g}."
                )
            if size > len(pool):
                sources = self.classes[(groups == group) & (self.label_of >= 0)].tolist()
                kind = "the target class" if self.clean_label else "a source class"
                raise ValueError(
                    f"poisoning_rate={self.poisoning_rate} of {sizes[group]} {whose} asks for"
                    f" {size} poisoned samples, but only {len(pool)} of the {n_samples} rows are"
                    f" of {kind} {sources}; give at most {len(pool) / sizes[group]:.4g}."
                )
            pools.append((pool, size))
        if not any(size for _, size in pools):
            raise ValueError(
                f"poisoning_rate={self.poisoning_rate} gives no poisoned sample in any target"
                f" class (sizes {dict(zip(self.classes.tolist(), sizes.tolist(), strict=True))});"
                " give a larger one."
            )
        return pools if self.victims == "random" else _stratified(pools, y_index)

    def _rates(self, groups):
        """``{group: rate}`` of classes that copies may come from, or be counted by."""
        if not isinstance(self.poisoning_rate, Mapping):
            return dict.fromkeys(groups, self.poisoning_rate)
        position = {label: i for i, label in enumerate(self.classes.tolist())}
        rates = {}
        for label, rate in self.poisoning_rate.items():
            if position.get(label) not in groups:
                raise ValueError(
                    f"poisoning_rate names class {label!r}, which is none of those that it can"
                    f" be a share of, {self.classes[groups].tolist()} (target={self.target!r},"
                    f" source_classes={self.source_classes!r})."
                )
            if not (isinstance(rate, Real) and 0 < rate <= 1):
                raise ValueError(
                    f"poisoning_rate of class {label!r} is {rate!r}; it must be in (0, 1]."
                )
            rates[position[label]] = rate
        if not rates:
            raise ValueError("poisoning_rate={} poisons no sample: pass {label: rate}.")
        return rates

    def _given_victims(self, y_index):
        rows = np.asarray(self.victims)
        if rows.ndim != 1 or len(rows) == 0 or rows.dtype.kind not in "iu":
            raise ValueError(
                "victims must be 'random', 'stratified' or row numbers of X, one or more; got"
                f" {self.victims!r}."
            )
        rows, counts = np.unique(rows, return_counts=True)
        if rows[0] < 0 or rows[-1] >= len(y_index) or counts.max() > 1:
            raise ValueError(
                f"victims must be different rows from 0 to {len(y_index) - 1}, but hold"
                f" {np.setdiff1d(rows, np.arange(len(y_index)))[:5].tolist()} beyond and"
                f" {rows[counts > 1][:5].tolist()} more than once."
            )
        wrong = rows[self.label_of[y_index[rows]] < 0]
        if len(wrong):
            raise ValueError(
                f"victims hold {len(wrong)} rows, such as {int(wrong[0])}, of classes that are not"
                f" poisoned; these are {self.classes[self.label_of >= 0].tolist()}"
                f" (target={self.target!r}, source_classes={self.source_classes!r})."
            )
        return rows

    def expected_counts(self, y_index):
        """``{label: number}``, how many victims each class has on average."""
        expected = np.zeros(len(self.classes))
        if isinstance(self.victims, str):
            pools = self._pools(y_index)
        else:
            rows = self._given_victims(y_index)
            pools = [(rows, len(rows))]
        for pool, size in pools:
            expected += size / len(pool) * np.bincount(y_index[pool], minlength=len(expected))
        possible = np.flatnonzero(self.label_of >= 0)
        return dict(zip(self.classes[possible].tolist(), expected[possible].tolist(), strict=True))


def _stratified(pools, y_index):
    """Each pool divided by class, in proportion to their sizes (largest remainders round up)."""
    divided = []
    for pool, size in pools:
        classes, counts = np.unique(y_index[pool], return_counts=True)
        shares = size * counts / len(pool) if len(pool) else counts
        sizes = np.floor(shares + 1e-9).astype(int)
        sizes[np.argsort(sizes - shares, kind="stable")[: size - sizes.sum()]] += 1
        for label, own in zip(classes, sizes, strict=True):
            divided.append((pool[y_index[pool] == label], int(own)))
    return divided
