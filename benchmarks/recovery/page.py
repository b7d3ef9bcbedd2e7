"""The page of the results, written from the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.pages import paragraph
from benchmarks.recovery.judge import LEAST_FOUND, MARGIN, Trial, Verdict
from benchmarks.recovery.trials import CORRELATIONS, PLANTS
from recmtl.train.config import Config

__all__ = ["page"]

FOUND = {
    "routes": "mean overlap of the experts of related tasks above that of all others",
    "mmoe": "overlap of the two tasks at correlation 1 above that at 0",
    "skips": "every deep task runs more blocks than every shallow one",
    "tree": "the two pairs part at the planted depth",
    "difficulty": "hard rows run 0.3 more often than easy ones, the mean within 0.1 of 0.5",
}


def page(
    trials: Mapping[str, Mapping[int, Trial]], estimators: Mapping[str, Sequence[float]]
) -> str:
    """Markdown of all trials (plant -> seed -> trial) and of the comparison of estimators."""
    judged = {name: Verdict.of([*seeds.values()]) for name, seeds in trials.items()}
    lines = [
        "# Planted recovery",
        "",
        *paragraph(
            "`make recovery` plants problems with a known answer",
            "(`benchmarks/recovery/plants.py`) and checks whether the search finds it. A",
            "seed changes data, weights and search. The thresholds were fixed in the code",
            f"before the run. The search must find the plant in {LEAST_FOUND:.0%} of the",
            "seeds. Its test loss (1 is the loss of a constant) must be no worse than that",
            "of an oracle, a layout that knows the plant: the mean difference over the seeds",
            f"plus one standard error is at most {MARGIN}. A layout with the opposite",
            "answer, the wrong one, must be worse than the oracle on validation rows, for",
            "otherwise the rows would not determine the answer. The experts of oracle and",
            "wrong layout have the sizes of the grid's. Plants and settings were made on",
            "seeds from 100 on; where a plant was changed after a run on judged seeds, its",
            "note says so, and new seeds judge it.",
        ),
        "| plant | found when | found | loss above oracle's | wrong above oracle | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for name, verdict in judged.items():
        excess = f"{verdict.excess:+.4f} ± {verdict.error:.4f}"
        worse = f"{verdict.worse:+.4f} ± {verdict.worse_error:.4f}"
        outcome = "; ".join(verdict.failures) or "holds"
        lines.append(
            f"| {PLANTS[name].title} | {FOUND[name]} | {verdict.found} of {verdict.seeds} | "
            f"{excess} | {worse} ({verdict.worse_seeds} of {verdict.seeds}) | {outcome} |"
        )
    for name, seeds in trials.items():
        lines += ["", *_plant(name, seeds)]
    if estimators:
        lines += ["", *_estimators(estimators)]
    return "\n".join(lines) + "\n"


def _plant(name: str, seeds: Mapping[int, Trial]) -> list[str]:
    plant = PLANTS[name]
    first = (plant.run.__doc__ or "").strip()
    settings = "; ".join(_differences(plant.config))
    lines = [
        f"## {plant.title.capitalize()}",
        "",
        first,
        "",
        f"Settings beside the defaults: {settings}.",
    ]
    lines += ["", plant.note] if plant.note else []
    if name == "mmoe":
        overlaps = [trial.what["overlap"] for trial in seeds.values()]
        means = [sum(o[str(p)] for o in overlaps) / len(overlaps) for p in CORRELATIONS]
        means_by_correlation = ", ".join(
            f"{m:.2f} at {p}" for m, p in zip(means, CORRELATIONS, strict=True)
        )
        lines += ["", f"Mean overlap by correlation: {means_by_correlation}."]
    lines += [
        "",
        "| seed | found | what | found: loss, multiply-adds | oracle | wrong | search s |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed, trial in seeds.items():
        fits = [
            f"{trial.fits[n].test:.4f}, {trial.fits[n].multiply_adds:.0f}"
            for n in ("found", "oracle", "wrong")
        ]
        what = ", ".join(f"{key} {_short(value)}" for key, value in trial.what.items())
        answer = "yes" if trial.found else "no"
        lines.append(f"| {seed} | {answer} | {what} | {' | '.join(fits)} | {trial.seconds:.0f} |")
    return lines


def _estimators(gaps: Mapping[str, Sequence[float]]) -> list[str]:
    lines = [
        "## Estimators on the planted routes",
        "",
        *paragraph(
            "Overlap of related tasks minus that of the others, by seed. A lane reads up to two",
            "columns, its own column starts with a logit of 2, and tasks that agree are not",
            "merged.",
        ),
        "| search | found | mean | by seed |",
        "|---|---|---|---|",
    ]
    for name, values in gaps.items():
        times_found = f"{sum(v > 0 for v in values)} of {len(values)}"
        listed = ", ".join(f"{v:+.2f}" for v in values)
        lines.append(f"| {name} | {times_found} | {sum(values) / len(values):+.2f} | {listed} |")
    return lines


def _differences(config: Config) -> list[str]:
    """Settings that are not the package's defaults."""
    settings, defaults = _flat(asdict(config)), _flat(asdict(Config()))
    return [
        f"{key} {_short(value)}" for key, value in settings.items() if defaults.get(key) != value
    ]


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        inner = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{_short(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return f"({' '.join(map(_short, value))})"
    return str(value)
