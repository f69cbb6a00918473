"""benchmarks/cache.md and cache.svg from what benchmarks/cache.py measured."""

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = {"floor": "no join", "cached": "cached", "uncached": "table read each time"}
COLOURS = {"floor": "#9a9a9a", "cached": "#2a78d6", "uncached": "#d65f2a"}
# Of the published experiment: 1M rows, ~500 MB, 10,000-row batches, 600 batches.
PUBLISHED = {"uncached": "2.8 s", "cached": "0.4 s", "ratio": "7x (85.7 % less)", "reads": "600 -> 1"}


def write_report(found: Mapping[str, Any]) -> None:
    """Write both files."""
    (HERE / "cache.svg").write_text(chart(found))
    (HERE / "cache.md").write_text("\n".join(page(found)) + "\n")


def page(found: Mapping[str, Any]) -> list[str]:
    main = found["main"]
    cached, uncached = times(found, "cached", main), times(found, "uncached", main)
    ratio = statistics.median(uncached) / statistics.median(cached)
    figures = next(item for item in found["figures"] if item["table"] == f"d.t{main}")
    look_up = 1000 * figures["look_up_seconds"] / max(1, figures["hits"] + figures["misses"])
    return [
        "# Joining micro-batches with a large table: cached, and read each time",
        "",
        f"Written by `make bench-cache` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Spark 4.2.0, "
        f"Delta 4.4.0; {main:,} rows, {found['table_bytes'][main] / 1e6:,.0f} MB, batches of {found['batch_rows']:,} "
        "rows, runs interleaved.",
        "",
        "![seconds per batch by the size of the table](cache.svg)",
        "",
        "## A batch, without a sink",
        "",
        "| | batches | mean | min | median | p95 | max | rows/s | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(found, way, main, "none") for way in NAMES),
        "",
        f"Cached is **{ratio:.1f}x** as fast (goal: 20x). Look-ups alone took "
        f"{look_up:.0f} ms of a batch, in the workers.",
        "",
        "| | here | published experiment |",
        "|---|---|---|",
        f"| a batch, table read each time | {statistics.mean(uncached):.2f} s | {PUBLISHED['uncached']} |",
        f"| a batch, cached | {statistics.mean(cached):.3f} s | {PUBLISHED['cached']} |",
        f"| ratio | {statistics.mean(uncached) / statistics.mean(cached):.1f}x | {PUBLISHED['ratio']} |",
        f"| reads of the table | {len(uncached)} -> {figures['table_reads']} in this driver | {PUBLISHED['reads']} |",
        f"| bytes read of the table | {len(uncached) * found['table_bytes'][main] / 1e9:.1f} GB -> "
        f"{figures['table_bytes'] / 1e9:.1f} GB | not said |",
        "",
        "## By the size of the table (median, no sink)",
        "",
        "| rows | MB | no join | cached | read each time | ratio |",
        "|---|---|---|---|---|---|",
        *(_size_row(found, int(rows)) for rows in found["table_bytes"]),
        "",
        *_sink(found),
        *_drivers(found),
        *_changes(found),
        *_limits(found),
        "",
        f"All of it in one driver: the JVM held {found['memory']['jvm'] / 1e6:,.0f} MB at most, the Python workers "
        f"{found['memory']['own'] / 1e6:,.0f} MB of their own at the end.",
    ]


def _sink(found: Mapping[str, Any]) -> list[str]:
    delta = {way: statistics.median(times(found, way, found["main"], "Delta")) for way in (*NAMES, "wide", "lean")}
    ratio, narrow = delta["cached"] / delta["wide"], delta["cached"] / delta["floor"]
    return [
        "## With the Delta sink",
        "",
        "| append of a batch to a Delta table | median |",
        "|---|---|",
        f"| no join, the batch's own two columns | {delta['floor']:.3f} s |",
        f"| no join, the batch has the six joined columns already | {delta['wide']:.3f} s |",
        f"| cached | {delta['cached']:.3f} s |",
        f"| cached, without statistics and dictionaries | {delta['lean']:.3f} s |",
        f"| table read each time | {delta['uncached']:.3f} s |",
        "",
        f"Cached takes {narrow:.2f}x the time of the batch without a join (goal: 1.3x), and {ratio:.2f}x that of a "
        "batch that has the joined columns already: the difference is the writing of 480 more bytes a row, of six "
        "texts that are never twice the same. Without Delta's statistics and Parquet's dictionaries of them it takes "
        f"{delta['lean'] / delta['floor']:.2f}x; `delta.dataSkippingStatsColumns` of the target table leaves "
        "statistics out.",
        "",
    ]


def _drivers(found: Mapping[str, Any]) -> list[str]:
    drivers = found["drivers"]
    ratio = drivers["uncached"]["seconds"] / drivers["cached"]["seconds"]
    return [
        "## The first batch of a new driver",
        "",
        "From the moment that the session stands, with the snapshot that another process has made.",
        "",
        "| | seconds | CPU s | JVM, most held | workers, their own |",
        "|---|---|---|---|---|",
        *(
            f"| {NAMES[way]} | {run['seconds']:.2f} | {run['cpu']:.2f} | {run['jvm'] / 1e6:,.0f} MB | "
            f"{run['own'] / 1e6:,.0f} MB |"
            for way, run in drivers.items()
        ),
        "",
        f"Cached is **{ratio:.1f}x** as fast as reading the table (goal: 5x), and reads nothing of it.",
        "",
    ]


def _changes(found: Mapping[str, Any]) -> list[str]:
    return [
        "## When the table changes",
        "",
        "| the snapshot | seconds | how | bytes read of the table | bytes of the snapshot |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {item['seconds']:.3f} | {item['made'] or 'the log'} | {item['table_bytes']:,} "
            f"| {item['snapshot_bytes']:,} |"
            for name, item in found["refreshes"].items()
        ),
        "",
    ]


def _limits(found: Mapping[str, Any]) -> list[str]:
    main, limits = found["main"], found["limits"]
    short, pressed, back = (statistics.median(times(found, way, main)) for way in ("short", "pressed", "back"))
    rows = zip(limits["look_ups"].items(), limits["limited"].values(), limits["builds"].values(), strict=True)
    return [
        "## Where memory ends",
        "",
        "A snapshot is a file: what of it does not stay in memory is read again from the disk. Looking up the keys of "
        f"a batch, 480 bytes a row, in one process: with all pages in memory, with none, and by a process that may "
        f"have {limits['look_up_left'] >> 20} MiB more than its libraries, to which the kernel holds it (RLIMIT_DATA), "
        "and gives all pages back after it (the same rows, checked). And builds that find "
        f"{limits['left'] >> 20} MiB of memory left.",
        "",
        "| rows | all pages | no page | limited | file pages it keeps | build | its memory at most | snapshot |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {int(size):,} | {item['warm']:.3f} s | {item['cold']:.3f} s | {limited['seconds']:.3f} s | "
            f"{limited['file_pages'] / 1e6:,.0f} MB | {build['seconds']:.1f} s | {build['held'] / 1e6:,.0f} MB | "
            f"{build['bytes'] / 1e6:,.0f} MB |"
            for (size, item), limited, build in rows
        ),
        "",
        f"Whole batches at {main:,} rows: with less than 5 % of the memory left the snapshot serves, and its pages are "
        f"given back after each look-up: {short:.2f} s. Only with less than {limits['look_up_left'] >> 20} MiB left, "
        f"where the workers themselves are in danger, Spark joins: {pressed:.2f} s (it looks for two rows of one key, "
        f"too). With memory back: {back:.2f} s.",
    ]


def times(found: Mapping[str, Any], way: str, rows: int, sink: str = "none") -> list[float]:
    """Seconds of each batch."""
    return [item["seconds"] for item in _of(found, way, rows, sink)]


def _of(found: Mapping[str, Any], way: str, rows: int, sink: str) -> list[Mapping[str, Any]]:
    return [item for item in found["measured"] if (item["way"], item["rows"], item["sink"]) == (way, rows, sink)]


def _row(found: Mapping[str, Any], way: str, rows: int, sink: str) -> str:
    seconds = sorted(times(found, way, rows, sink))
    cpu = statistics.mean(item["cpu"] for item in _of(found, way, rows, sink))
    p95 = seconds[min(len(seconds) - 1, math.ceil(0.95 * len(seconds)) - 1)]
    mean = statistics.mean(seconds)
    cells = [mean, seconds[0], statistics.median(seconds), p95, seconds[-1]]
    numbers = " | ".join(f"{value:.3f} s" for value in cells)
    return f"| {NAMES[way]} | {len(seconds)} | {numbers} | {found['batch_rows'] / mean:,.0f} | {cpu:.2f} |"


def _size_row(found: Mapping[str, Any], rows: int) -> str:
    floor, cached, uncached = (statistics.median(times(found, way, rows)) for way in NAMES)
    size = found["table_bytes"][rows] / 1e6
    return f"| {rows:,} | {size:,.0f} | {floor:.3f} s | {cached:.3f} s | {uncached:.3f} s | {uncached / cached:.1f}x |"


def chart(found: Mapping[str, Any]) -> str:
    """Median seconds of a batch by the rows of the table, both axes logarithmic."""
    sizes = [int(rows) for rows in found["table_bytes"]]
    series = {way: [statistics.median(times(found, way, rows)) for rows in sizes] for way in NAMES}
    low, high = 0.01, 10 ** math.ceil(math.log10(max(max(values) for values in series.values())))
    lines = [line for way, values in series.items() for line in _series(way, sizes, values, (low, high))]
    steps = round(math.log10(high / low))
    grid = [_grid(low * 10**step, (low, high)) for step in range(steps + 1)]
    labels = [f'<text x="{_x(rows, sizes):.0f}" y="330" text-anchor="middle">{rows:,} rows</text>' for rows in sizes]
    body = "\n".join([*grid, *labels, *lines])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 350" font-family="sans-serif" '
        'font-size="13" fill="#555">\n'
        '<rect width="720" height="350" fill="#fff"/>\n'
        '<text x="20" y="22" fill="#222">'
        f"Seconds per batch of {found['batch_rows']:,} rows (median, logarithmic)</text>\n"
        f"{body}\n</svg>\n"
    )


def _series(way: str, sizes: Sequence[int], values: Sequence[float], span: tuple[float, float]) -> list[str]:
    points = [(_x(rows, sizes), _y(value, span)) for rows, value in zip(sizes, values, strict=True)]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    last_x, last_y = points[-1]
    below = 18 if way == "floor" else -9  # the lines of `floor` and `cached` are near to each other
    return [
        f'<polyline points="{path}" fill="none" stroke="{COLOURS[way]}" stroke-width="2"/>',
        *(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{COLOURS[way]}"/>' for x, y in points),
        *(
            f'<text x="{x:.0f}" y="{y + below:.0f}" text-anchor="middle">{value:.2g} s</text>'
            for (x, y), value in zip(points, values, strict=True)
        ),
        f'<text x="{last_x + 12:.0f}" y="{last_y + 5:.0f}" fill="{COLOURS[way]}">{NAMES[way]}</text>',
    ]


def _grid(value: float, span: tuple[float, float]) -> str:
    y = _y(value, span)
    line = f'<line x1="70" x2="560" y1="{y:.0f}" y2="{y:.0f}" stroke="#e4e4e4"/>'
    return f'{line}<text x="20" y="{y + 4:.0f}">{value:g} s</text>'


def _x(rows: int, sizes: Sequence[int]) -> float:
    share = math.log(rows / sizes[0]) / math.log(sizes[-1] / sizes[0])
    return 100 + 440 * share


def _y(value: float, span: tuple[float, float]) -> float:
    low, high = span
    return 305 - 260 * math.log(value / low) / math.log(high / low)
