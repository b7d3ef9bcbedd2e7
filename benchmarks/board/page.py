"""The pages of the board: one a log, and one over all; each is a function of its JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.board.judge import RARE
from benchmarks.board.logs import LOGS, PUBLIC
from benchmarks.pages import paragraph
from recmtl.report.tables import MISSING, Markdown, markdown_table, words

__all__ = ["log_page", "overview"]

Board = Mapping[str, Any]
VERDICTS = {"helped": "ahead", "hurt": "behind"}
PEERS = {"rechub": "torch-rechub", "deepctr": "DeepCTR-Torch"}
COMMON = "mean of the tasks that are not rare"
DISK_BYTES, PREPARED_ROWS_A_S, TRAINED_ROWS_A_S = 124, 573_000, 303_000
"""Of an encoded row of 24 columns and two tasks, and the slowest rates from ten million rows on, on
a thread: `docs/benchmarks/scale.md`."""


def log_page(board: Board) -> str:
    """Every arm of a log: quality, proof, cost, agreement of the searches, and what is left out."""
    rows, arms = board["rows"], board["arms"]
    lines = [
        f"# The board: {board['log']}",
        "",
        *paragraph(
            f"`make board LOG={board['log']}`. {rows['train']:,} train, {rows['validation']:,} "
            f"validation, {rows['test']:,} test rows; data fingerprint "
            f"`{board['fingerprint'][:16]}`, recmtl {board['recmtl']}.",
            f"The claims hold for {board['holds_for']}",
        ),
        *paragraph(
            "Every route, epoch, setting, weight and opponent was chosen on validation rows; the "
            "figures are of test rows, mean ± sample standard deviation over seeds. Networks of "
            "recmtl have equal inputs, and their multiply-adds stand below; peers read the same "
            "encoded rows without the logits of forests, tuned as said below."
        ),
        *_quality(board),
        *_proof(board),
        *_costs(arms),
        *_to_a_verdict(board),
        *_sharing(board["sharing"]),
        *_peers(arms),
        *_left_out(board["left_out"]),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def overview(boards: Mapping[str, Board]) -> str:
    """All logs that have been run, those that have not, and what a user may download."""
    lines = [
        "# The board",
        "",
        *paragraph(
            "Every way of training several tasks that the project knows, and the training of two "
            "other libraries, on the same rows: `make board LOG=...` writes one page and its JSON. "
            "Nothing is chosen on test rows. A verdict is against the best other arm, chosen on "
            "validation rows: ahead or behind where the 95 % interval of the gain excludes 0. The "
            "mean is over the tasks, AUC or R²."
        ),
        *_summary(boards),
        *_not_run(boards),
        "## Logs that you download",
        "",
        *paragraph(
            "Not run here: what follows is row counts of their publishers and the measured rates "
            "of the [benchmark of scale](scale.md), 24 columns and two tasks, one thread. A log "
            "with other columns takes other disk. Memory does not grow with the log: below 1 GB "
            "for preparing and for one network; exact metrics add eight bytes a validation or "
            "test row and task. The board trains some hundred networks: multiply the minutes of "
            "a pass by passes and networks. A draft of a schema comes from "
            "`recmtl describe`, the study from `recmtl benchmark`."
        ),
        *_public(),
        *_contents(boards),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def arm_name(name: str, arm: Mapping[str, Any]) -> str:
    """An arm as people write it."""
    if arm["kind"] == "peer":
        library, _, network = name.partition("_")
        short = network.upper() if network in ("esmm", "aitm") else words(network)
        return f"{PEERS.get(library, library)} {short}"
    if arm["kind"] == "average":
        return "LightGBM and searched, averaged"
    if arm["preset"]:
        return f"{words(name.removesuffix('_' + arm['preset']))} ({arm['preset']})"
    return words(name)


def _ordered(arms: Board) -> list[str]:
    """Arms with a mean, the best first; then those that score some of the tasks."""

    def place(name: str) -> tuple[float, str]:
        mean = arms[name]["mean"].get("mean")
        return (math.inf if mean is None else -mean, name)

    return sorted(arms, key=place)


def _quality(board: Board) -> list[str]:
    arms, tasks = board["arms"], board["tasks"]
    heads = [f"{name} ({words(task['metric'])})" for name, task in tasks.items()]
    means = {"mean": "mean", "common_mean": COMMON}
    means = {
        name: head for name, head in means.items() if any(arm.get(name) for arm in arms.values())
    }
    rows = [
        [
            arm_name(name, arms[name]),
            arms[name]["seeds"],
            *(_figure(arms[name]["tasks"].get(task)) for task in tasks),
            *(_figure(arms[name][mean]) for mean in means),
        ]
        for name in _ordered(arms)
    ]
    positives = [
        f"{name} {task['positives']:,}{' (rare)' if task['positives'] < RARE else ''}"
        for name, task in tasks.items()
        if task["positives"] is not None
    ]
    note = [f"Positives among the test rows: {', '.join(positives)}."] if positives else []
    return [
        "## Quality",
        "",
        *markdown_table(["arm", "seeds", *heads, *means.values()], rows),
        *paragraph(*note),
    ]


def _figure(entry: Mapping[str, Any] | None) -> str:
    if not entry or entry["mean"] is None:
        return MISSING
    return f"{entry['mean']:.4f}" + (f" ± {entry['std']:.4f}" if entry["seeds"] > 1 else "")


def _proof(board: Board) -> list[str]:
    """The searched arms against the best other of each task, and every arm on its mean."""
    arms = board["arms"]
    searched = [name for name in _ordered(arms) if arms[name]["kind"] == "searched"]
    lines = ["## Proof against the best other arm", ""]
    for name in searched:
        entries = {**arms[name]["tasks"], "mean": arms[name]["mean"]}
        if arms[name].get("common_mean"):
            entries[COMMON] = arms[name]["common_mean"]
        rows = [[task, *_gain(entry["against"], arms)] for task, entry in entries.items()]
        head = [arm_name(name, arms[name]), "best other arm", "gain", "interval", "verdict"]
        lines += markdown_table(head, rows)
    rows = []
    for name in _ordered(arms):
        verdicts = [entry["against"].get("verdict") for entry in arms[name]["tasks"].values()]
        counts = [verdicts.count("helped"), verdicts.count("hurt")]
        mean = arms[name]["mean"]
        on_mean = _gain(mean["against"], arms) if mean else [MISSING] * 4
        rows.append([arm_name(name, arms[name]), *on_mean, *counts])
    head = ["arm", "best other on the mean", "gain", "interval", "verdict"]
    return [
        *lines,
        *paragraph(
            "Every arm in the same way; ahead and behind count tasks. An arm is not compared with "
            "an average of which it is a part."
        ),
        *markdown_table([*head, "ahead", "behind"], rows),
    ]


def _gain(proof: Mapping[str, Any], arms: Board) -> list[str]:
    if not proof:
        return [MISSING] * 4
    opponent = arm_name(proof["arm"], arms[proof["arm"]])
    if proof.get("gain") is None:
        return [opponent, MISSING, MISSING, "not proven"]
    bounds = [proof["low"], proof["high"]]
    interval = MISSING if None in bounds else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
    verdict = VERDICTS.get(proof["verdict"], "not proven")
    return [opponent, f"{proof['gain']:+.4f}", interval, verdict]


def _costs(arms: Board) -> list[str]:
    rows = []
    for name in _ordered(arms):
        cost = arms[name]["cost"]
        rate = cost["score_rows_per_s"]
        rows.append(
            [
                arm_name(name, arms[name]),
                *(_number(cost[n]) for n in ("parameters", "multiply_adds", "cpu_s")),
                _number(cost["cpu_s_of_all_seeds"]),
                MISSING if not rate else f"{1e6 / rate:,.1f}",
            ]
        )
    head = ["arm", "parameters", "multiply-adds", "CPU s to train", "CPU s, all seeds"]
    return [
        "## Cost",
        "",
        *markdown_table([*head, "s to score a million rows"], rows),
        *paragraph(
            "All seeds: with searches (their seconds by the clock, one thread each), tuning, and "
            "the forests that networks hear. Trainings ran beside other processes, so that seconds "
            "compare arms and not machines."
        ),
    ]


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def _to_a_verdict(board: Board) -> list[str]:
    spent = board["cpu_s_to_verdict"]
    trees = spent["lightgbm"]
    names = {
        "searched": "searched network: sources, searches, races, trainings, forests",
        "lightgbm": "LightGBM, tuned and bagged, as many seeds",
        "study": "the whole study: all arms of recmtl, and what moved the metric",
        "peers": "the peers, tuning included",
    }
    rows = [
        [text, _number(spent[key]), f"{spent[key] / trees:.1f}" if trees else MISSING]
        for key, text in names.items()
        if spent.get(key)
    ]
    head = ["to a verdict", "CPU s", "times LightGBM"]
    return markdown_table(head, rows) if rows else []


def _sharing(sharing: Mapping[str, Any]) -> list[str]:
    if "agreement" not in sharing:
        return []
    random = sharing.get("agreement_of_random_routes")
    beside = "" if random is None else f"; of random routes {random:.2f}"
    race = sharing.get("race")
    return [
        "## What the searches agree on",
        "",
        *paragraph(
            "Agreement of the searches of different seeds on what the tasks share (Jaccard): "
            f"{sharing['agreement']:.2f}{beside}.",
            *([str(race["says"])] if race else []),
        ),
    ]


def _peers(arms: Board) -> list[str]:
    rows = []
    for name in _ordered(arms):
        arm = arms[name]
        if arm["kind"] != "peer":
            continue
        first, chosen = arm["tuning"][0], arm["tuning"][arm["chosen"]]
        setting = ", ".join(f"{key} {value}" for key, value in chosen["setting"].items())
        rows.append(
            [
                arm_name(name, arm),
                arm["package"],
                f"{setting} ({arm['chosen'] + 1} of {len(arm['tuning'])})",
                f"{first['score']:.4f}",
                f"{chosen['score']:.4f}",
                chosen["epochs"],
            ]
        )
    if not rows:
        return []
    head = ["peer", "package", "chosen setting", "validation, as in the examples"]
    return [
        "## The peers",
        "",
        *paragraph(
            "Each peer is trained in a process of its own by its library's networks, loss and "
            "optimiser; the first setting of the list is that of the library's multi-task "
            "examples. One seed tries every setting, the best on validation rows is trained with "
            "every seed. Batches have 1,024 rows; a training ends after two epochs without a "
            "better mean over the tasks on validation rows. Neither library can leave out a "
            "missing label, so its loss is wrapped in one that does; neither takes row weights. "
            "ESMM learns the first two tasks of a funnel and reads numbers as 32 categories, "
            "AITM a whole funnel; they have no mean."
        ),
        *markdown_table([*head, "validation, chosen", "epochs"], rows),
    ]


def _left_out(left_out: Mapping[str, str]) -> list[str]:
    if not left_out:
        return []
    lines = [f"- {name.replace('_', ' ')}: {why}" for name, why in left_out.items()]
    return ["## Left out", "", *lines, ""]


def _summary(boards: Mapping[str, Board]) -> list[str]:
    rows = []
    for log, board in boards.items():
        arms = board["arms"]
        best = next(iter(_ordered(arms)))
        kinds = {kind: _best_of(arms, kind) for kind in ("searched", "fixed", "peer")}
        proof = arms[kinds["searched"]]["mean"]["against"] if kinds["searched"] else {}
        rows.append(
            [
                Markdown(f"[{log}](board/{log}.md)"),
                *(_named(arms, name) for name in kinds.values()),
                *(_mean(arms, name) for name in ("lightgbm", "average")),
                arm_name(best, arms[best]),
                " ".join(_gain(proof, arms)[i] for i in (3, 0)),
            ]
        )
    head = ["log", "searched", "best fixed or single", "best peer", "LightGBM", "average"]
    head += ["best mean", "searched against the best other"]
    return markdown_table(head, rows) if rows else []


def _best_of(arms: Board, kind: str) -> str | None:
    """The arm of a kind with the best mean on validation rows."""
    means = {n: a["mean"].get("validation") for n, a in arms.items() if a["kind"] == kind}
    judged = {name: mean for name, mean in means.items() if mean is not None}
    return min(judged, key=lambda name: (-judged[name], name), default=None)


def _named(arms: Board, name: str | None) -> str:
    return MISSING if name is None else f"{_mean(arms, name)} {arm_name(name, arms[name])}"


def _mean(arms: Board, name: str) -> str:
    return _figure(arms[name]["mean"]) if name in arms else MISSING


def _not_run(boards: Mapping[str, Board]) -> list[str]:
    waiting = [name for name in LOGS if name not in boards]
    if not waiting:
        return []
    return paragraph(f"Not run yet: {', '.join(waiting)}.")


def _contents(boards: Mapping[str, Board]) -> list[str]:
    """The pages of the logs, for the site's navigation."""
    if not boards:
        return []
    return ["```{toctree}", ":hidden:", "", *(f"board/{log}" for log in boards), "```"]


def _public() -> Sequence[str]:
    rows = [
        [
            log.name,
            log.tasks,
            log.rows,
            log.split,
            log.schema,
            f"{log.millions * DISK_BYTES / 1000:,.0f}",
            f"{log.millions * 1e6 / PREPARED_ROWS_A_S / 60:,.0f}",
            f"{log.millions * 1e6 / TRAINED_ROWS_A_S / 60:,.0f}",
        ]
        for log in PUBLIC
    ]
    head = ["log", "tasks", "rows", "split", "schema", "encoded GB"]
    return markdown_table([*head, "minutes to prepare", "minutes a pass of a network"], rows)
