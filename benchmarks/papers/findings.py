"""What a paper found, held against repeats of our own: intervals, verdicts, tables in Markdown."""

import numpy as np
from scipy.stats import f
from scipy.stats import t as student_t

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told at this size"
NOT_RUN = "not run"


def interval(values):
    """Mean, and Student's t interval of 95 % over the repeats; nan are those not run yet."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return values.sum() / max(len(values), 1), np.nan, np.nan
    half = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean(), values.mean() - half, values.mean() + half


def shown(values, sign=""):
    """``0.42 [0.31, 0.53]``, a single repeat ``0.42``; with "+" differences."""
    if np.isnan(values).all():
        return NOT_RUN
    mean, low, high = interval(values)
    return f"{mean:{sign}.2f}" + (
        "" if np.isnan(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    )


def above(values, bound=0.0):
    """Is a number above a bound; its interval must not hold the bound to say so."""
    if np.isnan(values).all():
        return NOT_RUN
    _, low, high = interval(values)
    return HOLDS if low > bound else FAILS if high <= bound else OPEN


def below(values, bound=0.0):
    return above(-np.asarray(values, dtype=float), -bound)


def within(values, bound):
    """Is a difference no larger than a bound, either way."""
    if np.isnan(values).all():
        return NOT_RUN
    _, low, high = interval(values)
    if -bound <= low and high <= bound:
        return HOLDS
    return FAILS if low > bound or high < -bound else OPEN


def together(verdicts):
    """Of a finding with several parts: it holds with all, and fails with one."""
    verdicts = list(verdicts)
    return next((verdict for verdict in (FAILS, NOT_RUN, OPEN) if verdict in verdicts), HOLDS)


def opposite(verdict):
    """Of the finding that says the contrary."""
    return {HOLDS: FAILS, FAILS: HOLDS}.get(verdict, verdict)


def wider(values, others):
    """Do values vary more than others: an F test at 5 %, either way."""
    ratio = np.var(values, ddof=1) / np.var(others, ddof=1)
    n, m = len(values) - 1, len(others) - 1
    wide, narrow = f.sf(ratio, n, m) < 0.05, f.cdf(ratio, n, m) < 0.05
    return HOLDS if wide else FAILS if narrow else OPEN


def compared(differences, judge=above):
    """Text and verdict of named differences."""
    text = "; ".join(f"{name} {shown(values, '+')}" for name, values in differences.items())
    return text, together(judge(values) for values in differences.values())


def finding(where, claim, paper, ours, verdict, cause=""):
    """A row of the table; the cause is told where a finding does not hold."""
    return {"section": where, "the paper finds": claim, "its numbers": paper, "here": ours,
            "verdict": f"**{verdict}**", "cause": cause if verdict != HOLDS else ""}  # fmt: skip


def table(rows):
    """Markdown lines of a list of dicts."""
    lines = [f"| {' | '.join(rows[0])} |", "| --- " * len(rows[0]) + "|"]
    for row in rows:
        values = (f"{value:.3g}" if isinstance(value, float) else str(value)
                  for value in row.values())  # fmt: skip
        lines.append(f"| {' | '.join(values)} |")
    return lines
