"""The board: what crosses to the peers, who is judged against whom, and pages that are current."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.board.__main__ import PAGES, board_of, held_out, pages, write
from benchmarks.board.arms import Arm, Run, average, open_run
from benchmarks.board.exchange import write_rows
from benchmarks.board.judge import RARE, HeldOut, judged_arms
from benchmarks.board.logs import LOGS
from benchmarks.board.page import log_page
from benchmarks.board.peer import Part, chain, fit, read, tuned
from benchmarks.board.peers import PEERS, Peer, left_out, metrics_of, peer_arm
from benchmarks.board.torch_peer import masked
from benchmarks.processes import BUILD
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError
from recmtl.job.fit import ModelResult
from recmtl.job.open_job import SIMULATED_SCHEMA
from recmtl.schema import Condition, TaskSpec, load_schema
from recmtl.schema.names import task_column
from recmtl.simulate import simulate
from tests.unit.board_stub_peer import SETTINGS, Stub

STUBS = {
    "stub_all": Peer("tests.unit.board_stub_peer", "all"),
    "stub_first": Peer("tests.unit.board_stub_peer", "first"),
}
COST = {"parameters": 10.0, "multiply_adds": 5.0, "cpu_s": 2.0, "score_rows_per_s": 1000.0}
TASKS = tuple(TaskSpec(name, "binary", Condition(name)) for name in ("a", "b"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """A small simulated log: a funnel, a regression on clicks, lists, missing values."""
    folder = tmp_path_factory.mktemp("board")
    simulate(folder / "log.parquet", 4000, seed=0)
    prepare(str(folder / "log.parquet"), load_schema(SIMULATED_SCHEMA), folder / "log")
    return EncodedLog.open(folder / "log")


def noise(log: EncodedLog, seed: int) -> ModelResult:
    """A model of the log that knows nothing."""
    random, columns = np.random.default_rng(seed), dict[str, dict[str, np.ndarray]]()
    for part in ("validation", "test"):
        rows = len(log.split(part))
        scored = {task_column(task): random.uniform(0.1, 0.9, rows) for task in log.schema.tasks}
        columns[part] = scored
    names = [task.name for task in log.schema.tasks]
    metrics = metrics_of(log, log.split("validation"), columns["validation"], names)
    kept = columns["validation"]
    return ModelResult(columns["test"], {**COST}, validation=metrics, on_validation=kept)


def run_of(log: EncodedLog, folder: Path) -> Run:
    """A finished run whose models are noise."""
    models = {
        name: {seed: noise(log, 10 * i + seed) for seed in range(2)}
        for i, name in enumerate(("searched", "lightgbm", "mmoe"))
    }
    results = {"cost": {name: {} for name in models}, "sharing": {"agreement": 0.5}}
    return Run(folder, log, models, results, "best", {"searched": 3.0}, 1.0, {})


def arm(name: str, columns: Iterable[dict[str, np.ndarray]], rows: HeldOut, **more: Any) -> Arm:
    """An arm whose validation rows are its test rows, one seed for each of `columns`."""
    results = {}
    for seed, scored in enumerate(columns):
        auc = {task.name: {"auc": 0.5 + 0.01 * seed} for task in rows.tasks}
        results[seed] = ModelResult(scored, {**COST}, validation=auc)
    return Arm(name, "fixed", results, tuple(t.name for t in rows.tasks), 4.0, **more)


def rows_of(count: int, seed: int) -> HeldOut:
    labels = np.random.default_rng(seed).integers(0, 2, (count, len(TASKS))).astype(np.float32)
    return HeldOut(labels, TASKS, None, np.ones(count))


def scored(rows: HeldOut, seed: int, signal: float = 0.5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    noise = random.normal(size=rows.labels.shape) + signal * rows.labels
    return {f"p_{task.name}": 1 / (1 + np.exp(-noise[:, t])) for t, task in enumerate(TASKS)}


def test_a_peer_gets_the_same_rows_and_no_label_of_a_test_row(
    log: EncodedLog, tmp_path: Path
) -> None:
    write_rows(log, tmp_path / "rows")
    described, parts = read(tmp_path / "rows")
    assert {"labels", "joint"} <= parts["train"].keys()
    assert parts["test"].keys() == {"ids", "lists", "numbers"}
    assert [len(part["ids"]) for part in parts.values()] == [*log.manifest["rows"].values()]
    for part in parts.values():
        assert part["numbers"].min() >= 0 and part["numbers"].max() <= 1
        for column, table in enumerate(described.single):
            assert part["ids"][:, column].min() >= 1
            assert part["ids"][:, column].max() < described.tables[table]
    assert parts["train"]["ids"].min() >= 2, "train rows hold no id that train rows do not hold"
    purchase = [task["name"] for task in described.tasks].index("purchase")
    click = [task["name"] for task in described.tasks].index("click")
    labels, joint = parts["train"]["labels"], parts["train"]["joint"]
    np.testing.assert_array_equal(np.isnan(labels[:, purchase]), labels[:, click] == 0)
    np.testing.assert_array_equal(joint[:, purchase], np.nan_to_num(labels[:, purchase]))
    history = [table for table, _ in described.lists]
    assert set(history) & set(described.single), "a list shares the table of its items"


def test_equal_ids_stay_equal_and_only_they(log: EncodedLog, tmp_path: Path) -> None:
    write_rows(log, tmp_path / "rows")
    parts = read(tmp_path / "rows")[1]
    ours, theirs = np.asarray(log.split("train").ids), parts["train"]["ids"]
    for column in range(theirs.shape[1]):
        pairs = set(zip(ours[:, column].tolist(), theirs[:, column].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_a_log_goes_on_the_board_and_only_the_peers_are_trained(
    log: EncodedLog, tmp_path: Path
) -> None:
    run = run_of(log, tmp_path)
    fast = replace(run, preset="fast")
    board = board_of("a log", [run, fast], peers=STUBS, folder=tmp_path, holds_for="some rows.")
    arms = board["arms"]
    assert {"searched", "searched_fast", "average", "stub_all", "stub_first"} <= arms.keys()
    tuning = [trial["score"] for trial in arms["stub_all"]["tuning"]]
    assert tuning[arms["stub_all"]["chosen"]] == max(tuning)
    assert arms["stub_first"]["mean"] == {} and [*arms["stub_first"]["tasks"]] == ["click"]
    assert arms["stub_all"]["seeds"] == 2 and arms["stub_all"]["cost"]["parameters"] > 0
    opponents = {entry["against"]["arm"] for entry in arms["searched"]["tasks"].values()}
    assert "average" not in opponents, "an average holds the arm itself"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.npz")}
    assert len(before) == 2
    again = board_of("a log", [run, fast], peers=STUBS, folder=tmp_path, holds_for="some rows.")
    assert again == board
    assert before == {path: path.stat().st_mtime_ns for path in before}
    write(board, tmp_path / "pages")
    text = (tmp_path / "pages" / "board" / "a log.md").read_text()
    assert "| searched (fast) | 2 |" in text and "| LightGBM and searched, averaged | 2 |" in text
    assert "Agreement of the searches of different seeds" in text
    assert "[a log](board/a log.md)" in (tmp_path / "pages" / "board.md").read_text()


def test_the_order_of_the_arms_changes_nothing() -> None:
    rows = rows_of(300, 0)
    arms = [arm(n, [scored(rows, i), scored(rows, i + 9)], rows) for i, n in enumerate("xyz")]
    expected = judged_arms(arms, rows, resamples=20)
    assert judged_arms(arms[::-1], rows, resamples=20) == expected
    assert {entry["mean"]["against"]["arm"] for entry in expected.values()} <= set("xyz")


def test_an_opponent_is_chosen_on_validation_rows() -> None:
    rows = rows_of(400, 1)
    poor, good = (
        arm("poor", [scored(rows, 1, 0.0)], rows),
        arm("good", [scored(rows, 2, 3.0)], rows),
    )
    subject = arm("subject", [scored(rows, 3, 0.5)], rows)
    best = {t.name: {"auc": 0.9} for t in TASKS}
    poor = replace(poor, results={0: replace(poor.results[0], validation=best)})
    judged = judged_arms([subject, good, poor], rows, resamples=20)
    assert judged["subject"]["mean"]["against"]["arm"] == "poor"
    assert judged["good"]["mean"]["mean"] > judged["poor"]["mean"]["mean"]


def test_a_mean_leaves_out_the_tasks_that_are_rare() -> None:
    rows = rows_of(2 * RARE + 200, 6)
    assert rows.common == ("a", "b")
    rows.labels[np.flatnonzero(rows.labels[:, 1])[RARE - 1 :], 1] = 0
    assert rows.common == ("a",)
    arms = [arm(n, [scored(rows, i), scored(rows, i + 9)], rows) for i, n in enumerate("xyz")]
    judged = judged_arms(arms, rows, resamples=20)["x"]
    alone = judged_arms(arms, rows.of(["a"]), resamples=20)["x"]
    # Their scores of validation rows are equal, so that the opponent is the first by name.
    assert judged["common_mean"]["mean"] == judged["tasks"]["a"]["mean"] != judged["mean"]["mean"]
    assert judged["common_mean"]["against"] == alone["mean"]["against"]
    assert "common_mean" not in alone


@pytest.mark.slow
def test_an_arm_that_is_a_copy_is_not_declared_better_beyond_the_level() -> None:
    better = 0
    for study in range(100):
        rows = rows_of(150, study)
        # Arms of one kind: other seeds of the same training, on the same rows.
        arms = [
            arm(n, [scored(rows, 1000 * study + 10 * i + s) for s in range(3)], rows)
            for i, n in enumerate(("x", "y"))
        ]
        judged = judged_arms(arms, rows, resamples=40)
        better += judged["x"]["mean"]["against"]["verdict"] == "helped"
    # 2.5 of 100 are expected; more than 7 happen once in a thousand such simulations.
    assert better <= 7


def test_an_exact_copy_has_no_gain() -> None:
    rows = rows_of(200, 5)
    columns = [scored(rows, 1), scored(rows, 2)]
    judged = judged_arms([arm("x", columns, rows), arm("y", columns, rows)], rows, resamples=20)
    proof = judged["x"]["mean"]["against"]
    assert proof["gain"] == 0.0 and proof["verdict"] == "not proven"


def test_the_average_is_of_logits_without_a_weight(log: EncodedLog) -> None:
    names = tuple(task.name for task in log.schema.tasks)
    first, second = (Arm(str(i), "fixed", {0: noise(log, i)}, names, 1.0) for i in range(2))
    both = average(first, second, log)
    scores = [arm.results[0].predictions["p_click"] for arm in (first, second, both)]
    logits = [np.log(p / (1 - p)) for p in scores]
    np.testing.assert_allclose(logits[2], (logits[0] + logits[1]) / 2, atol=1e-9)
    values = [arm.results[0].predictions["value_watch_time"] for arm in (first, second, both)]
    np.testing.assert_allclose(values[2], (values[0] + values[1]) / 2)
    same = average(first, first, log).results[0].predictions["p_dislike"]
    np.testing.assert_allclose(same, first.results[0].predictions["p_dislike"])


def test_permuted_test_rows_change_no_choice_of_a_peer(log: EncodedLog, tmp_path: Path) -> None:
    write_rows(log, tmp_path / "rows")
    described, parts = read(tmp_path / "rows")
    order = np.random.default_rng(0).permutation(len(parts["test"]["ids"]))
    shuffled = {**parts, "test": {name: array[order] for name, array in parts["test"].items()}}
    facts, scores = tuned(Stub, described, parts, settings=SETTINGS, seeds=1)
    others, permuted = tuned(Stub, described, shuffled, settings=SETTINGS, seeds=1)
    assert facts["chosen"] == others["chosen"]
    assert [t["score"] for t in facts["tuning"]] == [t["score"] for t in others["tuning"]]
    np.testing.assert_allclose(permuted["test-0"], scores["test-0"][order], rtol=1e-6)
    np.testing.assert_array_equal(permuted["validation-0"], scores["validation-0"])


class Scripted:
    """A network whose scores know as much of the labels as a list says, epoch by epoch."""

    parameters = 1

    def __init__(self, *_: object) -> None:
        self.trained = 0

    def epoch(self) -> None:
        self.trained += 1

    def scores(self, part: Part) -> np.ndarray:
        knows = (0.0, 0.1, 0.9, 0.3, 0.2, 1.0)[self.trained]
        labels = np.nan_to_num(part["labels"])
        return knows * labels + (1 - knows) * np.random.default_rng(0).uniform(size=labels.shape)

    def state(self) -> object:
        return self.trained

    def restore(self, state: Any) -> None:
        self.trained = state


def test_a_training_ends_by_patience_and_keeps_its_best_epoch(
    log: EncodedLog, tmp_path: Path
) -> None:
    write_rows(log, tmp_path / "rows")
    described, parts = read(tmp_path / "rows")
    fitted = fit(Scripted, described, parts, setting={}, seed=0)
    assert fitted.epochs == 4 and isinstance(fitted.network, Scripted)
    assert fitted.network.trained == 2


def test_the_longest_funnel_is_found_and_a_log_without_one_is_told(
    log: EncodedLog, tmp_path: Path
) -> None:
    write_rows(log, tmp_path / "rows")
    assert chain(read(tmp_path / "rows")[0]) == ["click", "purchase"]
    assert left_out(PEERS["rechub_esmm"], TASKS).startswith("it is for a funnel")
    assert left_out(PEERS["rechub_esmm"], log.schema.tasks) == ""
    several = (*TASKS, TaskSpec("c", "multiclass", Condition("c")))
    assert left_out(PEERS["deepctr_ple"], several) == "it has no task of several classes"
    assert left_out(PEERS["deepctr_ple"], TASKS[:1]) == "it needs two tasks"


def test_a_missing_label_adds_nothing_to_a_loss() -> None:
    torch = pytest.importorskip("torch")
    scores = torch.tensor([0.2, 0.7, 0.9], requires_grad=True)
    labels = torch.tensor([0.0, float("nan"), 1.0])
    masked("binary")(scores, labels).backward()
    assert scores.grad is not None and scores.grad[1] == 0 and scores.grad[0] > 0
    nothing = masked("regression")(scores, torch.full((3,), float("nan")), reduction="sum")
    assert nothing.item() == 0.0 and nothing.requires_grad


def test_a_peer_opens_no_connection() -> None:
    code = (
        "import socket, benchmarks.board.peer as peer; peer.offline()\n"
        "import requests\n"
        "for call in (lambda: socket.create_connection(('127.0.0.1', 9)),\n"
        "             lambda: socket.socket().connect(('127.0.0.1', 9)),\n"
        "             lambda: requests.get('http://127.0.0.1')):\n"
        "    try: call()\n"
        "    except OSError as error: assert 'opens no connection' in str(error)\n"
        "    else: raise SystemExit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_files_of_every_log_of_the_board_are_there() -> None:
    root = PAGES.parents[1]
    files = [file for log in LOGS.values() for file in (log.schema, log.config)]
    assert [file for file in files if not (root / file).is_file()] == []


def test_the_published_pages_are_those_of_their_json() -> None:
    for path, text in pages(PAGES).items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m benchmarks.board page`"


def test_a_page_is_a_function_of_its_json(log: EncodedLog, tmp_path: Path) -> None:
    board = board_of("x", [run_of(log, tmp_path)], peers={}, folder=tmp_path, holds_for="rows.")
    assert log_page(json.loads(json.dumps(board))) == log_page(board)
    assert board["cpu_s_to_verdict"]["searched"] == 2 * COST["cpu_s"] + 3.0 + 1.0
    assert len(held_out(log).labels) == board["rows"]["test"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_the_true_peers_learn(name: str, log: EncodedLog, tmp_path: Path) -> None:
    package = PEERS[name].requirements[0].partition("==")[0]
    if not (BUILD / "peers" / package / ".installed").is_file():
        pytest.skip(f"{package} is not installed: `make board` installs it")
    peer = peer_arm(name, PEERS[name], log, folder=tmp_path, seeds=1)
    assert peer.results[0].validation["click"]["auc"] > 0.5
    assert set(peer.tasks) <= {task.name for task in log.schema.tasks}


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no finished study; run the study to its end"):
        open_run(tmp_path)
