"""A picture of the demo's gold tables: results/flights.png. Run it after `make demo`.

python -m tools.demo_chart
"""

import sys
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
from deltalake import DeltaTable
from matplotlib.dates import DateFormatter

from include.config.settings import PROJECT_ROOT, Settings, load_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = PROJECT_ROOT / "results" / "flights.png"
COLOURS = {"EWR": "#2a78d6", "JFK": "#d65f2a", "LGA": "#2a9d6f"}
NEW_YORK = "America/New_York"


def main() -> int:
    """Draw the picture."""
    settings = load_settings()
    plt.switch_backend("Agg")  # a file, on a machine without a display
    figure, axes = plt.subplots(2, 2, figsize=(13, 8), constrained_layout=True)
    hours = _table(settings, "gold.departures_hourly")
    hours["local"] = hours["window_start"].dt.tz_convert(NEW_YORK)
    hours["delay"] = hours["mean_delay"] * (hours["flights"] - hours["cancelled"])
    _by_hour(axes[0][0], hours)
    _by_day(axes[0][1], hours)
    _sessions(axes[1][0], _table(settings, "gold.aircraft_sessions"))
    _features(axes[1][1], _table(settings, "gold.aircraft_features"))
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=100)
    print(PICTURE.relative_to(PROJECT_ROOT))
    return 0


def _table(settings: Settings, name: str) -> pd.DataFrame:
    return DeltaTable(settings.table_root(name)).to_pandas()


def _mean(hours: pd.DataFrame, by: "pd.Series[object]") -> pd.DataFrame:
    """The mean delay of the flights that left, not of the hours."""
    sums = hours.assign(left=hours["flights"] - hours["cancelled"]).groupby([by, "origin"])[["delay", "left"]].sum()
    means: pd.DataFrame = (sums["delay"] / sums["left"].where(sums["left"] > 0)).unstack("origin")
    return means


def _by_hour(axis: "Axes", hours: pd.DataFrame) -> None:
    means = _mean(hours, hours["local"].dt.hour).loc[5:]
    for origin, colour in COLOURS.items():
        axis.plot(means.index, means[origin], marker="o", color=colour, label=origin)
    axis.set(title="gold.departures_hourly: mean delay by hour of the day", xlabel="scheduled hour", ylabel="minutes")
    axis.set_xticks(range(6, 24, 3))
    axis.legend()


def _by_day(axis: "Axes", hours: pd.DataFrame) -> None:
    days = hours.groupby(hours["local"].dt.tz_localize(None).dt.floor("D"))[["flights", "cancelled"]].sum()
    axis.fill_between(days.index, days["flights"], color="#cfe0f5", label="scheduled")
    axis.fill_between(days.index, days["cancelled"], color="#d65f2a", label="cancelled")
    axis.set(title="gold.departures_hourly: flights a day", ylim=(0, None))
    axis.xaxis.set_major_formatter(DateFormatter("%b"))  # type: ignore[no-untyped-call]
    axis.legend(loc="center right")


def _sessions(axis: "Axes", sessions: pd.DataFrame) -> None:
    counts = sessions["flights"].value_counts().sort_index()
    axis.bar(counts.index, counts, color="#2a78d6")
    axis.set(
        title=f"gold.aircraft_sessions: {len(sessions):,} sessions", xlabel="departures in a session", yscale="log"
    )
    axis.set_ylabel("sessions")


def _features(axis: "Axes", features: pd.DataFrame) -> None:
    shown = features[features["flights"] >= 20]  # noqa: PLR2004  fewer say little of an aircraft
    dots = axis.scatter(
        shown["flights"], shown["mean_delay"], c=shown["miles"] / shown["flights"], s=8, cmap="viridis", vmax=2600
    )
    axis.set(title="gold.aircraft_features: a dot is an aircraft", xlabel="flights", ylabel="mean delay, minutes")
    axis.figure.colorbar(dots, ax=axis, label="miles a flight")


if __name__ == "__main__":
    sys.exit(main())
