"""The figure of the gain over the number of training images: means, 95% intervals, single seeds and fitted lines."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmark.analysis.trend import Trend
from benchmark.report.figures.drawing import FAINT, INK, drawing, label_ends, style, svg


def trend_figure(trends: Sequence[Trend], title: str) -> str:
    """Draw trends of one endpoint, each against another arm; sizes are spread by their logarithm."""
    arms = [trend.arm for trend in trends]
    sizes = sorted({gain.images for trend in trends for gain in trend.gains})
    with drawing(arms) as (figure, axes):
        ends: dict[str, tuple[float, float]] = {}
        for index, trend in enumerate(trends):
            look = style(index)
            shift = 1 + 0.04 * (index - (len(trends) - 1) / 2)  # beside one another, where sizes are the same
            x = np.array([gain.images * shift for gain in trend.gains])
            means = np.array([gain.test.difference for gain in trend.gains])
            for place, gain in zip(x, trend.gains, strict=True):
                if gain.test.low is not None and gain.test.high is not None:
                    axes.plot([place, place], [gain.test.low, gain.test.high], color=look.color, linewidth=1.5)
                axes.plot([place] * len(gain.each), gain.each, "_", color=look.color, alpha=FAINT, markersize=8)
            axes.plot(x, means, linestyle="", marker=look.marker, markersize=7, color=look.color)
            line = np.polyval(np.polyfit(np.log2(x), means, 1), np.log2(x))
            axes.plot(x, line, color=look.color, linestyle=look.linestyle, linewidth=look.linewidth)
            ends[trend.arm] = float(x[-1]), float(line[-1])
        axes.axhline(0, color=INK, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size / 1000:g}k" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axes.set_title(title, loc="left")
        axes.set_xlabel("training images")
        label_ends(axes, arms, ends)
        return svg(figure)
