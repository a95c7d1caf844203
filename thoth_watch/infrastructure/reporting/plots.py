"""Plots as inline SVG with the page's colors and fonts, in a wide and a narrow version."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from thoth_watch.domain.history import History
from thoth_watch.infrastructure.reporting.number_format import format_duration, format_number

WIDE_PX, NARROW_PX = 760, 340  # drawn at display size, so that text keeps its size
# placeholders, replaced by the page's CSS variables
TEXT_COLOR, MUTED_COLOR, LINE_COLOR = "#010101", "#010102", "#010103"
SERIES_COLORS = tuple(f"#0102{n:02x}" for n in range(6))
MARKERS, DASHES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_VARIABLES = {TEXT_COLOR: "ink", MUTED_COLOR: "quiet", LINE_COLOR: "line"} | {
    c: f"s{n}" for n, c in enumerate(SERIES_COLORS)
}

_STYLE = {
    "svg.fonttype": "none",  # keeps text as text
    "svg.hashsalt": "thoth-watch",
    "font.size": 12.5,
    "axes.edgecolor": LINE_COLOR,
    "axes.labelcolor": MUTED_COLOR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE_COLOR,
    "xtick.color": LINE_COLOR,
    "ytick.color": LINE_COLOR,
    "xtick.labelcolor": MUTED_COLOR,
    "ytick.labelcolor": MUTED_COLOR,
    "ytick.major.size": 0,
    "text.color": TEXT_COLOR,
    "legend.frameon": False,
    "legend.labelcolor": TEXT_COLOR,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot as SVG, in a wide and a narrow version."""

    wide: str
    narrow: str


Draw = Callable[[Axes, History, bool], None]


def throughput(history: History) -> Plot:
    """Plot the audio transcribed, one bar per bucket."""
    return _plot(history, "throughput", _draw_throughput)


def speed(history: History) -> Plot:
    """Plot the real-time factor over time, one line per engine and device."""
    return _plot(history, "speed", _draw_speed)


def backlog(history: History) -> Plot:
    """Plot the files waiting at the end of each bucket."""
    return _plot(history, "backlog", _draw_backlog)


def stages(history: History) -> Plot:
    """Plot the time spent in each stage, over all runs."""
    return _plot(history, "stages", _draw_stages, height_px=42 * len(history.stages))


def engines(history: History) -> Plot:
    """Plot the overall real-time factor of each engine and device."""
    shown = min(len(history.engines), len(SERIES_COLORS))
    return _plot(history, "engines", _draw_engines, height_px=30 + 52 * shown)


def _draw_throughput(axes: Axes, history: History, is_narrow: bool) -> None:  # noqa: FBT001
    max_s = max(bucket.audio_s for bucket in history.buckets)
    per, unit = (3600.0, "hours") if max_s > 7200 else (60.0, "minutes")
    width_days = history.width / timedelta(days=1)
    axes.bar(
        [date2num(bucket.start) for bucket in history.buckets],
        [bucket.audio_s / per for bucket in history.buckets],
        width=width_days * 0.86,
        align="edge",
        color=SERIES_COLORS[0],
        linewidth=0,
    )
    _time_axis(axes, history, is_narrow=is_narrow)
    _value_axis(axes, f"{unit} of audio")


def _draw_speed(axes: Axes, history: History, is_narrow: bool) -> None:  # noqa: FBT001
    names = list(dict.fromkeys(figures.name for figures in history.engines))[: len(SERIES_COLORS)]
    middle = history.width / 2
    seen: list[float] = []
    for index, name in enumerate(names):
        points = [
            (date2num(bucket.start + middle), audio_s / wall_s)
            for bucket in history.buckets
            for audio_s, wall_s in [bucket.by_engine.get(name, (0.0, 0.0))]
            if wall_s > 0
        ]
        seen += [value for _, value in points]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=SERIES_COLORS[index],
            linestyle=DASHES[index],
            marker=MARKERS[index],
            markersize=5,
            linewidth=1.8,
            label=name,
        )
    _time_axis(axes, history, is_narrow=is_narrow)
    positive = [value for value in seen if value > 0]
    if positive and max(positive) > 10 * min(positive):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title("times real time (log scale)", loc="left", color=MUTED_COLOR, fontsize=12.5)
    else:
        _value_axis(axes, "times real time")
    if names:
        columns = 1 if is_narrow else 2
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.14), ncols=columns)


def _draw_backlog(axes: Axes, history: History, is_narrow: bool) -> None:  # noqa: FBT001
    x = [date2num(bucket.start) for bucket in history.buckets]
    y = [bucket.backlog_files for bucket in history.buckets]
    x.append(date2num(history.buckets[-1].start + history.width))
    y.append(y[-1])
    axes.fill_between(x, y, step="post", color=SERIES_COLORS[1], alpha=0.25, linewidth=0)
    axes.step(x, y, where="post", color=SERIES_COLORS[1], linewidth=1.8)
    _time_axis(axes, history, is_narrow=is_narrow)
    _value_axis(axes, "files waiting")


def _draw_stages(axes: Axes, history: History, is_narrow: bool) -> None:  # noqa: FBT001
    total_s = sum(history.stages.values()) or 1.0
    named = [
        (stage, seconds, f"{format_duration(seconds)}, {seconds / total_s:.0%}")
        for stage, seconds in history.stages.items()
    ]
    _horizontal_bars(axes, named, colors=[SERIES_COLORS[0]] * len(named), is_narrow=is_narrow)


def _draw_engines(axes: Axes, history: History, is_narrow: bool) -> None:  # noqa: FBT001
    shown = history.engines[: len(SERIES_COLORS)]
    names = list(dict.fromkeys(figures.name for figures in history.engines))
    named = [
        (
            figures.name.replace(", ", ",\n", 1) if is_narrow else figures.name,
            figures.realtime_factor,
            f"{format_number(figures.realtime_factor)} times",
        )
        for figures in shown
    ]
    colors = [SERIES_COLORS[names.index(figures.name) % len(SERIES_COLORS)] for figures in shown]
    _horizontal_bars(axes, named, colors=colors, is_narrow=is_narrow)


def _horizontal_bars(
    axes: Axes, named: list[tuple[str, float, str]], *, colors: list[str], is_narrow: bool
) -> None:
    """Draw horizontal bars with their names on the left and values at their ends, without an axis."""
    values = [value for _, value, _ in named]
    axes.barh(range(len(named)), values, height=0.6, color=colors, linewidth=0)
    axes.set_yticks(range(len(named)), [name for name, _, _ in named])
    axes.tick_params(axis="y", labelcolor=TEXT_COLOR)
    axes.invert_yaxis()
    axes.set_xlim(0, (max(values) or 1.0) * (1.75 if is_narrow else 1.25))
    axes.xaxis.set_visible(False)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    for row, (_, value, label) in enumerate(named):
        axes.annotate(label, (value, row), (6, 0), textcoords="offset points", va="center")


def _time_axis(axes: Axes, history: History, *, is_narrow: bool) -> None:
    first = history.buckets[0].start
    last = history.buckets[-1].start + history.width
    pad = (last - first) * 0.01
    axes.set_xlim(date2num(first - pad), date2num(last + pad))
    locator = AutoDateLocator(minticks=1, maxticks=5 if is_narrow else 8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_color(MUTED_COLOR)


def _value_axis(axes: Axes, name: str) -> None:
    axes.set_ylim(bottom=0, top=max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_title(name, loc="left", color=MUTED_COLOR, fontsize=12.5)


def _plot(history: History, name: str, draw: Draw, *, height_px: int = 250) -> Plot:
    return Plot(
        *(
            _svg(history, f"{name}-{version}", draw, width_px=width_px, height_px=height_px)
            for version, width_px in (("wide", WIDE_PX), ("narrow", NARROW_PX))
        )
    )


def _svg(history: History, name: str, draw: Draw, *, width_px: int, height_px: int) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure)
        axes: Any = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes, history, width_px == NARROW_PX)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _adapt_to_page(buffer.getvalue(), name)


def _adapt_to_page(svg: str, name: str) -> str:
    """Return the SVG with unique ids, without metadata and styles, in the page's colors and fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    prefix = f"{escape(name)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"font: (?:\w+ )?([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]+;?", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    head = re.search(r'viewBox="[^"]+"', svg)
    assert head is not None  # noqa: S101  # matplotlib always writes one
    body = svg[svg.index(">") + 1 :]
    # hidden from screen readers: the label of the plot and the table have the same content
    return f'<svg {head[0]} aria-hidden="true" focusable="false">{body}'.strip()
