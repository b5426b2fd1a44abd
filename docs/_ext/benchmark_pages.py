"""Writes the tables and charts of the benchmark page from the stored results, before Sphinx reads its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark_charts import charts  # type: ignore[import-not-found]
from operator_pages import table, write  # type: ignore[import-not-found]

from polypool.bench import report
from polypool.bench.record import Check, Entry, Results, Row, load

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SUITES = ("ops", "models", "scaling")
NOTHING = "No results of this suite are stored.\n"


def stored(folder: Path) -> dict[str, Results]:
    """The results that are there, by suite."""
    paths = {suite: folder / f"{suite}.json" for suite in SUITES}
    return {suite: load(path) for suite, path in paths.items() if path.is_file()}


def conditions(results: Results) -> str:
    """Where and when a suite was run."""
    machine, settings = results.machine, results.settings
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items() if version)
    absent = ", ".join(name for name, version in results.versions.items() if version is None)
    rows = [
        ["machine", f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['vector']}"],
        ["caches", str(machine["cache"])],
        ["memory", f"{machine['memory_gb']} GB; huge pages: {machine['huge_pages']}"],
        ["threads", str(settings["threads"])],
        ["our side", str(settings["in_force"])],
        ["versions", versions],
        ["not installed", absent or "nothing"],
        ["measured", f"{results.started[:10]}, {results.seconds:.0f} s, {len(results.rows)} rows"],
    ]
    rows += [["warning", warning] for warning in results.warnings]
    return table(["", ""], rows)


def mark(text: str, check: Check | None) -> str:
    """A figure with its target."""
    if check is None or not text:
        return text
    sign = "≥" if check.at_least else "≤"
    limit = report.megabytes(check.limit) if check.figure == "extra" else report.limit(check.limit)
    return f"{text} ({sign} {limit} {'✓' if check.passed else '✗'})"


def line(row: Row, entry: Entry) -> list[str]:
    """One contestant as a row of a table."""
    name = f"**{report.our_name(row)}**" if entry is row.ours else entry.name
    if entry.status != "ok":
        return [name, f"{entry.status}: {entry.why}".replace("|", "\\|"), "", "", ""]
    checks: dict[str, Check] = {check.figure: check for check in entry.checks}
    ratio = mark(report.times(entry.faster), checks.get("faster"))
    if "doublings" in checks:
        ratio = mark(f"{checks['doublings'].value:.2f} of x * 2", checks["doublings"])
    if "beyond_us" in checks:
        ratio = mark(f"{checks['beyond_us'].value:+.1f} µs", checks["beyond_us"])
    return [
        name,
        report.duration(row, entry) + (" µs" if row.table == "small" else ""),
        mark(report.number(entry.reads), checks.get("reads")),
        ratio,
        mark(report.megabytes(entry.extra), checks.get("extra")),
    ]


def tables(results: Results) -> str:
    """Every row, the losing ones included."""
    return "\n".join(_tables(results.rows)) or NOTHING


def _tables(rows: Iterable[Row]) -> Iterator[str]:
    head = ["", "ms", "reads", "its time / ours", "extra MB"]
    for group in report.groups(rows):
        yield f"**{report.heading(group[0])}**\n"
        yield table(head, [line(row, entry) for row in group for entry in row.entries])
        yield from (f"{row.note}\n" for row in group if row.note)


def missed(results: Iterable[Results]) -> str:
    """The targets that are not reached."""
    rows = [row for each in results for row in each.rows]
    checks = [(row, entry, check) for row in rows for entry in row.entries for check in entry.checks]
    short = [(row, entry, check) for row, entry, check in checks if not check.passed]
    lines = [f"{len(checks) - len(short)} of {len(checks)} targets are reached.\n"]
    if short:
        listed = [[f"`{row.case}`", row.direction, report.said(entry, check)] for row, entry, check in short]
        lines.append(table(["case", "direction", "found"], listed))
    return "\n".join(lines)


def growth(results: Results) -> str:
    """How time and memory grow."""
    return "".join(f"- {said}\n" for said in report.growth(results.rows))


def write_pages(app: Sphinx) -> None:
    """Writes the generated parts of the page."""
    source = Path(app.srcdir)
    folder = source / "_generated" / "benchmarks"
    found = stored(source.parent / "benchmarks" / "results")
    drawn = charts(found, folder)
    for suite in SUITES:
        results = found.get(suite)
        pictures = "".join(
            f"![{title}](_generated/benchmarks/{name})\n\n" for name, title in drawn.get(suite, [])
        )
        write(folder / f"{suite}-charts.md", (pictures + growth(results)) if results else NOTHING)
        write(folder / f"{suite}-tables.md", tables(results) if results else NOTHING)
        write(folder / f"{suite}-conditions.md", conditions(results) if results else NOTHING)
    write(folder / "missed.md", missed(found.values()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
