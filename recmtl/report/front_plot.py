"""The plot of a front: what each network gains of the aim, and what of the mean over the tasks."""

from collections.abc import Mapping

from recmtl.report.plots import LINE_COLOURS, Axes, names_beside, picture

__all__ = ["front_plot"]


def front_plot(points: Mapping[str, tuple[float, float]], *, chosen: str) -> str:
    """Named dots: gain of the mean over the tasks, gain of the aim; the chosen one is a diamond."""

    def draw(axes: Axes) -> None:
        for name, (mean, gain) in points.items():
            axes.plot([mean], [gain], color=LINE_COLOURS[0], markersize=7,
                      marker="D" if name == chosen else "o")  # fmt: skip
        axes.margins(x=0.1, y=0.12)
        axes.set_xlabel("gain of the mean over the tasks")
        axes.set_ylabel("gain of the aim")
        names_beside(axes, points)

    return picture(draw, height=3.0)
