"""The report's section on the experts of the searched network: are they active, distinct, used?"""

from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.report import plots
from recmtl.report.page import Html, Section, figure, figures, listed, paragraph, section

__all__ = ["health"]

SHOWN_EXPERTS = 8
"""The most experts of a layer in one plot, least used first, so that their names fit."""

Curves = dict[str, list[float | None]]


def health(record: Mapping[str, Any]) -> Section | None:
    """Warnings, and use, entropy, similarity, dead units and drift of the experts by epoch.

    Args:
        record: `tasks`, `experts` (named layer.number), `warnings`, `limits` and `checks`, each an
            epoch with use [T, E], entropy [T], similarity [L, n, n], dead [E] and drift [T]; empty
            if nothing was measured.
    """
    if not record:
        return None
    epochs = [check["epoch"] for check in record["checks"]]
    pictures = [
        figure(
            plots.search_plot(epochs, curves, label=label, axis="epoch of training"),
            alt=f"{title}, {_last(curves)}",
            title=title,
        )
        for title, label, curves in _panels(record)
        if curves
    ]
    return section(
        "Health of the experts",
        _warnings(record["warnings"]),
        paragraph(_meaning(record["limits"]), "quiet"),
        figures(pictures),
    )


def _warnings(sentences: Sequence[str]) -> Html:
    if not sentences:
        return paragraph("No expert is collapsed, starved, dead or a copy of another.")
    return listed(sentences)


def _meaning(limits: Mapping[str, float]) -> str:
    return (
        "Measured on a sample of validation rows at every check of the searched network's "
        "training; the warnings are those of its best check. A task has collapsed if one of "
        f"several experts has more than {limits['collapsed']:.0%} of its gate in a layer. An "
        f"expert is starved if every task gives it less than {limits['starved']:.0%} of an equal "
        f"share, and dead if more than {limits['dead']:.0%} of its units are zero on every row. "
        f"Two experts are identical above a similarity of {limits['identical']:g} (linear CKA; 1 "
        "means the same up to a rotation). A gate of entropy 1 weighs all experts equally, one of "
        "entropy 0 uses a single expert. Drift is the change of a task's shares since the previous "
        "check."
    )


def _panels(record: Mapping[str, Any]) -> list[tuple[str, str, Curves]]:
    """Title, label of the axis and curves of each picture."""
    checks, experts = record["checks"], record["experts"]
    layers = list(dict.fromkeys(name.partition(".")[0] for name in experts))
    members = {
        layer: [e for e, name in enumerate(experts) if name.startswith(f"{layer}.")]
        for layer in layers
    }
    use = [
        (
            f"Use of the experts of layer {layer}{_fewer(numbers)}",
            "largest share of a task",
            _least_used(
                {experts[e]: [_most(check["use"], e) for check in checks] for e in numbers}
            ),
        )
        for layer, numbers in members.items()
        if len(numbers) > 1
    ]
    alike: Curves = {
        f"layer {layer}": [_most_alike(check["similarity"][number]) for check in checks]
        for number, layer in enumerate(layers)
        if len(members[layer]) > 1
    }
    dead: Curves = {
        f"layer {layer}": [max(check["dead"][e] for e in numbers) for check in checks]
        for layer, numbers in members.items()
    }
    return [
        *use,
        ("Entropy of the gates", "entropy, 1 = undecided", _by_task(record, "entropy")),
        ("Similarity of the two most similar experts", "linear CKA", alike),
        ("Dead units of the worst expert", "share of its units", dead),
        ("Drift of the gates", "mean change of a share", _by_task(record, "drift")),
    ]


def _by_task(record: Mapping[str, Any], name: str) -> Curves:
    tasks, checks = record["tasks"], record["checks"]
    curves: Curves = {
        task: [None if check[name] is None else check[name][t] for check in checks]
        for t, task in enumerate(tasks)
    }
    return {task: values for task, values in curves.items() if set(values) != {None}}


def _most(use: Sequence[Sequence[float]], expert: int) -> float:
    return max(shares[expert] for shares in use)


def _fewer(numbers: Sequence[int]) -> str:
    return f", the {SHOWN_EXPERTS} least used" if len(numbers) > SHOWN_EXPERTS else ""


def _least_used(curves: Mapping[str, list[float]]) -> Curves:
    shown = sorted(curves, key=lambda name: curves[name][-1])[:SHOWN_EXPERTS]
    return {name: list(values) for name, values in curves.items() if name in shown}


def _most_alike(matrix: Sequence[Sequence[float]]) -> float:
    return max(value for i, row in enumerate(matrix) for value in row[:i])


def _last(curves: Curves) -> str:
    values = ", ".join(
        f"{name} {line[-1]:.2f}" for name, line in curves.items() if line[-1] is not None
    )
    return f"at the last check: {values}"
