"""What an update changed, and why, in sentences: for the page, the console and a log."""

from collections.abc import Iterator, Mapping
from typing import Any

from recmtl.report.tables import format_gain, format_metric, primary_of, words

__all__ = ["update_lines", "verdict_lines"]

Results = Mapping[str, Any]
AGAINST = {"helped": "better than its parent", "hurt": "worse than its parent"}


def update_lines(results: Results) -> list[str]:
    """The whole of it: days, ids, weights, wiring, and each task against the parent."""
    return [*_what_changed(results["update"]), *verdict_lines(results)]


def verdict_lines(results: Results) -> list[str]:
    """A line a task: the updated model against its parent, on test rows of the added days."""
    lines = []
    for task, entry in results["tasks"].items():
        metric = primary_of(results, task)
        gain = results["verdicts"].get(task, {}).get("parent")
        value = format_metric(entry.get("searched", {}).get(metric))
        said = AGAINST.get(entry.get("verdict", ""), "not proven to differ from its parent")
        lines.append(f"{task}: {words(metric)} {value}, {said}: {format_gain(gain)}")
    return lines


def _what_changed(update: Mapping[str, Any]) -> Iterator[str]:
    lineage, span = update["lineage"], update.get("span")
    during = f", {span[0]} to {span[1]}" if span else ""
    yield f"update {update['number']}: {lineage['rows']:,} rows were added{during}"
    vocabularies = update["vocabularies"].items()
    new = {name: change["new"] for name, change in vocabularies if change["new"]}
    retired = {name: change["retired"] for name, change in vocabularies if change["retired"]}
    yield f"new ids: {_counts(new)}"
    if retired:
        yield f"retired ids: {_counts(retired)}"
    for number, network in enumerate(update["networks"], start=1):
        which = f"network {number}" if len(update["networks"]) > 1 else "the network"
        if network["after"] == network["before"]:
            yield (
                f"{which} kept its weights: no step of training had a better validation score "
                f"than {network['before']:.4f}"
            )
        else:
            yield (
                f"{which} was trained on: validation score {network['before']:.4f} before, "
                f"{network['after']:.4f} after"
            )
    yield from _routes(update)


def _routes(update: Mapping[str, Any]) -> Iterator[str]:
    test, new = update.get("test"), update.get("new_route")
    if test is None and new is None:
        yield "the wiring was kept: nothing asked whether another one would gain"
    if test is not None:
        gain = test["gain"]
        figures = f", by {format_gain(gain)} on the mean over the tasks" if gain else ""
        yield f"the wiring: {test['says']}{figures}"
        if new is None:
            yield "the wiring was kept, and nothing was searched"
    if new is not None:
        what = "serves" if new["serves"] else "does not serve: the network trained on scores more"
        yield (
            f"a new search found {words(new['winner'])}, validation score "
            f"{new['validation']:.4f}; it {what}"
        )


def _counts(changes: Mapping[str, int]) -> str:
    if not changes:
        return "none"
    return ", ".join(f"{count:,} of {name}" for name, count in changes.items())
