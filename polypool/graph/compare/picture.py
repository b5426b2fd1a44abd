"""A comparison as a picture: accuracies, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polypool.graph.compare.report import Report, Result

LABELS = {"test": "best epoch on the test folds", "inside": "epoch chosen inside the training folds"}
COLOURS = {"test": "#4477aa", "inside": "#cc6677"}


def draw(report: Report, path: Path) -> None:
    """Writes the picture of a report, one row of two panels for each group of entries.

    Args:
        report: What was found.
        path: Where to, with the ending of a format that matplotlib writes.
    """
    from matplotlib.figure import Figure

    groups = [[one for one in report.results if one.group == group] for group in ("readout", "select")]
    shown = [group for group in groups if group]
    heights = [0.9 + 0.42 * len(group) for group in shown]
    figure = Figure(figsize=(11, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(shown), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (left, right), group in zip(panels, shown, strict=True):
        _accuracies(left, group, report)
        _differences(right, group, report)
    protocols = list(report.results[0].scores)
    handles, labels = panels[0][0].get_legend_handles_labels()
    settings = report.settings
    runs = f"{settings.folds} folds" + (f", {settings.seeds} times" if settings.seeds > 1 else "")
    title = f"{report.data}: {report.graphs:,} graphs, {runs}"
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(protocols) + 1,
        frameon=False,
        title=title,
        title_fontsize=11,
    )
    figure.savefig(path, dpi=150)


def _accuracies(panel: Any, group: Sequence[Result], report: Report) -> None:
    for row, one in enumerate(group):
        for k, (protocol, score) in enumerate(one.scores.items()):
            at = row + 0.16 * (2 * k - len(one.scores) + 1)
            panel.plot(
                score.runs, [at] * len(score.runs), "|", color=COLOURS[protocol], alpha=0.35, markersize=7
            )
            label = LABELS[protocol] if row == 0 else None
            panel.plot(score.mean, at, "o", color=COLOURS[protocol], markersize=6, label=label)
    panel.axvline(
        report.majority, color="#888888", linestyle=":", linewidth=1, label="always the commonest class"
    )
    _rows(panel, group)
    panel.set_xlabel("accuracy: each fold, and their mean")


def _differences(panel: Any, group: Sequence[Result], report: Report) -> None:
    panel.axvline(0, color="#888888", linewidth=1)
    for row, one in enumerate(group):
        for k, protocol in enumerate(one.scores):
            found = report.difference(one.name, protocol)
            if found is None:
                continue
            at = row + 0.16 * (2 * k - len(one.scores) + 1)
            panel.plot([found.low, found.high], [at, at], color=COLOURS[protocol], linewidth=2)
            panel.plot(found.mean, at, "o", color=COLOURS[protocol], markersize=5)
    _rows(panel, group)
    panel.set_yticklabels([f"less {one.rival}" if one.rival else "" for one in group])
    panel.set_xlabel("difference to its rival, paired, 95 %")


def _rows(panel: Any, group: Sequence[Result]) -> None:
    panel.set_yticks(range(len(group)), [one.name for one in group])
    panel.set_ylim(len(group) - 0.5, -0.5)
    panel.spines[["top", "right"]].set_visible(False)
