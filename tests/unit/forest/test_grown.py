"""Forests of a log: kept in a folder, used again, refused if they are others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import ConfigError, DataError
from recmtl.forest import grown as module
from recmtl.forest.forests import Forests
from recmtl.forest.grown import GrownForests, grow_forests
from recmtl.train.tabular_problem import TabularProblem
from tests.unit.serve.forest_shop import FEW

FIELDS = ["click.tree", "buy.tree", "watch.tree", *(f"rating.tree.{n}" for n in (1, 2, 3))]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_numbers_of_a_part_are_those_of_the_log_and_of_the_trees(
    part: str, log: EncodedLog, grown: GrownForests
) -> None:
    rows, plain, forests = grown.split(part), log.split(part), grown.forests
    width = plain.numeric.shape[1]
    np.testing.assert_array_equal(rows.numeric[:, :width], plain.numeric)
    expected = forests.encoded(np.asarray(grown.logits(part)))
    np.testing.assert_array_equal(rows.numeric[:, width:], expected)
    answers = forests.logits(plain.ids, plain.numeric)
    is_out_of_fold = part == "train"
    assert np.array_equal(answers, grown.logits(part)) != is_out_of_fold
    assert [field.name for field in grown.encoding.numeric[width:]] == FIELDS


def test_a_row_alone_gets_the_answer_that_it_gets_among_others(
    log: EncodedLog, grown: GrownForests
) -> None:
    rows = log.split("test")
    together = grown.forests.with_trees(rows.ids, rows.numeric)
    for row in range(0, len(rows), 13):
        alone = grown.forests.with_trees(rows.ids[[row]], rows.numeric[[row]])
        np.testing.assert_array_equal(alone[0], together[row])
    assert grown.forests.with_trees(rows.ids[:0], rows.numeric[:0]).shape == (0, len(together[0]))


def test_networks_hear_the_trees_as_a_source_of_knowledge(
    log: EncodedLog, grown: GrownForests
) -> None:
    problem = TabularProblem.of(log, trees=grown)
    assert list(problem.sources["trees"]) == FIELDS
    without = problem.hearing([source for source in problem.sources if source != "trees"])
    assert without.encoding == log.encoding
    np.testing.assert_array_equal(np.asarray(without.test.numeric), log.split("test").numeric)
    alone = problem.only(problem.tasks[1])
    assert alone.train.numeric.shape[1] == len(problem.encoding.numeric)


def test_forests_are_grown_once(
    log: EncodedLog, grown: GrownForests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("grown again")

    monkeypatch.setattr(module, "_grow", refuse)
    again = grow_forests(log, grown.folder, FEW, threads=2, seed=0)
    assert again.forests.forests == grown.forests.forests and again.cost == grown.cost
    for changed in ({"seed": 1}, {"settings": replace(FEW, leaves=7)}):
        with pytest.raises(AssertionError, match="grown again"):
            grow_forests(log, grown.folder, **{"settings": FEW, "threads": 1, "seed": 0} | changed)
    assert (grown.folder / "grown.json").is_file(), "what was there stays until others are whole"


def test_threads_change_no_tree(log: EncodedLog, grown: GrownForests, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    again = grow_forests(
        log, tmp_path / "two", FEW, threads=2, seed=0,
        on_progress=lambda what, done, total: steps.append((done, total)),
    )  # fmt: skip
    assert again.forests.forests == grown.forests.forests
    assert steps == [(done, 12) for done in range(1, 13)]


def test_altered_forests_are_refused(log: EncodedLog, tmp_path: Path) -> None:
    few = replace(FEW, rounds=2)
    folder = grow_forests(log, tmp_path / "forest", few, threads=1, seed=0).folder
    text = (folder / "forests" / "0.txt").read_text()
    (folder / "forests" / "0.txt").write_text(text.replace("leaf_value=", "leaf_value=9"))
    with pytest.raises(DataError, match=r"not those that were grown; delete the folder"):
        grow_forests(log, folder, few, threads=1, seed=0)


def test_forests_of_other_columns_are_refused(log: EncodedLog, grown: GrownForests) -> None:
    other = replace(log.encoding, numeric=log.encoding.numeric[:-1])
    with pytest.raises(DataError, match=r"it reads 6 columns, and a row has 5.*; grow them again"):
        Forests.load(grown.folder / "forests", other)


@pytest.mark.parametrize("name", ["forests.json", "codes.safetensors", "2.txt"])
def test_incomplete_forests_are_refused(
    name: str, log: EncodedLog, grown: GrownForests, tmp_path: Path
) -> None:
    grown.forests.save(tmp_path)
    for content in (None, b"", b"tree\nnonsense"):
        (tmp_path / name).unlink(missing_ok=True)
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"not complete forests .*; grow them again"):
            Forests.load(tmp_path, log.encoding)


def test_a_feature_with_the_name_of_a_tree_is_refused(log: EncodedLog) -> None:
    with pytest.raises(ConfigError, match=r"feature 'age', the name of a tree's field; rename it"):
        module._refuse_names(["age"], log.encoding)
