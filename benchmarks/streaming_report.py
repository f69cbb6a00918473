"""results/streaming_metrics.md and results/performance_charts.png from what benchmarks/streaming.py measured."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2a78d6", "#999999", "#d65f2a", "#2a9d6f", "#8e5bb5", "#c9a227", "#d6447f", "#4a4a4a")
FLOOR_EVENTS = 1_000


def write_report(found: Mapping[str, Any], folder: Path) -> None:
    """Write both files."""
    lost = [line for line in account(found) if line["missing"]]
    if lost:
        raise SystemExit(f"rows are missing: {lost}")
    folder.mkdir(exist_ok=True)
    (folder / "streaming_metrics.md").write_text("\n".join(page(found)) + "\n")
    chart(found, folder / "performance_charts.png")


def runs(found: Mapping[str, Any], pipeline: str, phase: str) -> list[Any]:
    """The runs of a pipeline in a phase, in their order."""
    return [run for run in found["runs"] if run.pipeline == pipeline and run.phase == phase]


def measured(found: Mapping[str, Any]) -> dict[str, str]:
    """The pipelines that run over each batch, with their kinds; the static table does not."""
    return {name: kind for name, kind in found["kinds"].items() if runs(found, name, "stream")}


def p95(values: Iterable[float]) -> float:
    """The 95th percentile, as one of the values."""
    ordered = sorted(values)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def account(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What became of the rows that each pipeline read, over all batches."""
    lines = []
    totals = {name: _sum(found, name, "loaded") for name in found["kinds"]}
    landed = sum(run.landed for run in found["runs"] if run.pipeline == "events")
    for name, kind in measured(found).items():
        read = {"events": landed, "events_deduplicated": totals["events"]}.get(name, totals["events_deduplicated"])
        late = _sum(found, name, "late")
        rest = read - totals[name] - late
        duplicates = rest if name == "events_deduplicated" else 0
        line = {"kind": kind, "read": read, "in": totals[name], "late": late, "duplicates": duplicates}
        lines.append({**line, "missing": rest - duplicates, "rows": found["rows"][name]})
    return lines


def _sum(found: Mapping[str, Any], pipeline: str, figure: str) -> int:
    return sum(getattr(run, figure) for run in found["runs"] if run.pipeline == pipeline)


def page(found: Mapping[str, Any]) -> list[str]:
    """The report's lines."""
    batch = found["rate"] * found["seconds"]
    return [
        "# Streaming pipelines, measured",
        "",
        f"Written by `make bench-streaming` on {datetime.now(UTC):%Y-%m-%d}: {found['cores']} cores, Spark 4.2.0, "
        f"Delta 4.4.0, one warm driver, {len(found['runs'])} runs in {found['took']:.0f} s. Events of "
        "`sluice generate` (10 % late by 60 to 600 s, 1 % twice, busy users), pipelines of `examples/events`, one "
        "after the other over each batch. A time is that of a whole run: planning, micro-batch, commit, figures.",
        "",
        "![charts of the figures below](performance_charts.png)",
        "",
        f"## A stream of {found['rate']} events a second, a batch a minute",
        "",
        f"Batches of {batch:,} events and a few that come twice; the third one lands last. A driver that needs less "
        f"than {found['seconds']} s for all pipelines together keeps up.",
        "",
        "| pipeline | batches | min s | median s | p95 s | max s | events/s (median) |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_row(found, name, kind) for name, kind in measured(found).items()),
        f"| all together | | | {_together(found):.2f} | | | {batch / _together(found):,.0f} |",
        "",
        "## By the size of the batch",
        "",
        "Median seconds of a run, and events a second.",
        "",
        f"| pipeline | {' | '.join(f'{size:,} events' for size in found['sizes'])} |",
        f"|---|{'---:|' * len(found['sizes'])}",
        *(_size_row(found, name, kind) for name, kind in measured(found).items()),
        "",
        "## What became of the rows",
        "",
        "Counted from the commits, all batches: rows read = in the table or its windows + left out as duplicates + in "
        "the late table. The report is not written where that is not so.",
        "",
        "| pipeline | rows read | entered | duplicates | late | rows of the table |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {line['kind']} | {line['read']:,} | {line['in']:,} | {line['duplicates']:,} | {line['late']:,} "
            f"| {line['rows']:,} |"
            for line in account(found)
        ),
    ]


def _seconds(found: Mapping[str, Any], name: str, phase: str) -> list[float]:
    return [run.seconds for run in runs(found, name, phase)]


def _together(found: Mapping[str, Any]) -> float:
    return sum(statistics.median(_seconds(found, name, "stream")) for name in measured(found))


def _row(found: Mapping[str, Any], name: str, kind: str) -> str:
    seconds = _seconds(found, name, "stream")
    median = statistics.median(seconds)
    events = found["rate"] * found["seconds"] / median
    cells = (min(seconds), median, p95(seconds), max(seconds))
    return f"| {kind} | {len(seconds)} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {events:,.0f} |"


def _size_row(found: Mapping[str, Any], name: str, kind: str) -> str:
    cells = []
    for size in found["sizes"]:
        median = statistics.median(_seconds(found, name, f"size {size}"))
        cells.append(f"{median:.2f} s, {size / median:,.0f}/s")
    return f"| {kind} | {' | '.join(cells)} |"


def chart(found: Mapping[str, Any], file: Path) -> None:
    """Four pictures in one."""
    names = measured(found)
    colours = dict(zip(found["kinds"], COLOURS, strict=True))
    plt.switch_backend("Agg")  # a file, on a machine without a display
    figure, axes = plt.subplots(2, 2, figsize=(14, 9.5), constrained_layout=True)
    _times(axes[0][0], found, names, colours)
    _spread(axes[0][1], found, names, colours)
    _sizes(axes[1][0], found, names, colours)
    _rows(axes[1][1], found)
    figure.suptitle(
        f"Sluice's example pipelines, one warm driver, {found['cores']} cores: {found['rate']} events a second, "
        "10 % late, 1 % twice"
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _times(axis: "Axes", found: Mapping[str, Any], names: Mapping[str, str], colours: Mapping[str, str]) -> None:
    for name, kind in names.items():
        seconds = _seconds(found, name, "stream")
        axis.plot(range(1, len(seconds) + 1), seconds, marker="o", markersize=3, label=kind, color=colours[name])
    axis.set(title="Seconds of each micro-batch", xlabel="batch of the stream", ylabel="seconds", ylim=(0, None))
    axis.legend(fontsize=8, ncols=2)


def _spread(axis: "Axes", found: Mapping[str, Any], names: Mapping[str, str], colours: Mapping[str, str]) -> None:
    kinds = list(names.values())
    all_seconds = [_seconds(found, name, "stream") for name in names]
    medians = [statistics.median(seconds) for seconds in all_seconds]
    bars = axis.barh(kinds, medians, color=[colours[name] for name in names], height=0.6)
    axis.plot([p95(seconds) for seconds in all_seconds], kinds, "k|", markersize=14)
    size = found["rate"] * found["seconds"]
    axis.bar_label(bars, [f" {size / median:,.0f} events/s" for median in medians], label_type="center", color="white")
    axis.invert_yaxis()
    axis.set(
        title=f"A batch of {size:,} events: median, throughput, | 95th percentile", xlabel="seconds", xlim=(0, None)
    )


def _sizes(axis: "Axes", found: Mapping[str, Any], names: Mapping[str, str], colours: Mapping[str, str]) -> None:
    sizes: Sequence[int] = found["sizes"]
    for name, kind in names.items():
        medians = [statistics.median(_seconds(found, name, f"size {size}")) for size in sizes]
        rates = [size / median for size, median in zip(sizes, medians, strict=True)]
        axis.plot(sizes, rates, marker="o", markersize=4, label=kind, color=colours[name])
    axis.axhline(FLOOR_EVENTS, color="#bbbbbb", linestyle="--", linewidth=1)
    axis.text(sizes[0], FLOOR_EVENTS * 1.1, f"{FLOOR_EVENTS:,} events/s", color="#888888", fontsize=8)
    axis.set(xscale="log", yscale="log", title="Throughput by the size of a batch", xlabel="events in a batch")
    axis.set(ylabel="events a second")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])


def _rows(axis: "Axes", found: Mapping[str, Any]) -> None:
    lines = account(found)
    kinds = [line["kind"] for line in lines]
    begin = [0] * len(lines)
    for key, label, colour in (
        ("in", "entered the table", "#2a9d6f"),
        ("duplicates", "left out: duplicates", "#999999"),
        ("late", "in the late table", "#d65f2a"),
    ):
        widths = [line[key] for line in lines]
        axis.barh(kinds, widths, left=begin, color=colour, label=label, height=0.6)
        begin = [start + width for start, width in zip(begin, widths, strict=True)]
    most = max(line["read"] for line in lines)
    for line, end in zip(lines, begin, strict=True):
        left_out = ", ".join(f"{line[key]:,} {key}" for key in ("duplicates", "late") if line[key])
        axis.text(end + most * 0.01, line["kind"], left_out, va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set(title="What became of the rows that were read: none is missing", xlabel="rows", xlim=(0, most * 1.2))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=8, frameon=False)
