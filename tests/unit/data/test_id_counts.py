"""An encoder keeps how often the train rows held each id."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.columns.vocabulary_file import read_values, write_values
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.schema import parse_schema
from recmtl.train.tabular_problem import TabularProblem
from tests.unit.serve.shop import SCHEMA, make_log

LOGS = Path(__file__).parents[2] / "data" / "logs"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("counts")
    pq.write_table(make_log(600), folder / "log.parquet")
    schema = parse_schema(SCHEMA, source="schema.yaml")
    return prepare(str(folder / "log.parquet"), schema, folder / "log")


def test_counts_are_those_of_the_train_rows(log: EncodedLog) -> None:
    encoder, train = log.encoder(), np.asarray(log.split("train").ids)
    counts, firsts = encoder.id_counts(), encoder.unknown_rows()[1]
    singles = len(log.encoding.single)
    seen = Counter(train[:, :singles].ravel().tolist())
    unknown = {0, *firsts.tolist()}
    for row in range(log.encoding.table_rows):
        assert counts[row] == (0 if row in unknown else seen[row])


def test_counts_are_saved_and_loaded(log: EncodedLog, tmp_path: Path) -> None:
    log.encoder().save(tmp_path / "encoder")
    again = RowEncoder.load(tmp_path / "encoder")
    np.testing.assert_array_equal(again.id_counts(), log.encoder().id_counts())


def test_an_encoder_of_an_earlier_release_has_no_counts_and_replaces_nothing() -> None:
    log = EncodedLog.open(LOGS / "0.1" / "log")
    assert not log.encoder().id_counts().any()
    problem = TabularProblem.of(log, rare_ids=100.0)
    assert problem.rare_ids is not None
    assert not problem.rare_ids.get_buffer("chance").any()


def test_without_the_setting_a_problem_replaces_nothing(log: EncodedLog) -> None:
    assert TabularProblem.of(log).rare_ids is None
    shrunk = TabularProblem.of(log, rare_ids=50.0).rare_ids
    assert shrunk is not None
    chance, counts = shrunk.get_buffer("chance").numpy(), log.encoder().id_counts()
    expected = np.where(counts > 0, 50 / (counts + 50.0), 0)
    np.testing.assert_allclose(chance, expected, rtol=1e-6)


def test_a_hashed_feature_has_no_counts() -> None:
    hashed = Vocabulary("item", "string", 1, 11, pa.array([], pa.large_string()))
    assert hashed.counts is None


def test_a_file_with_another_number_of_counts_is_refused(tmp_path: Path) -> None:
    counts = np.array([4, 2, 1])
    vocabulary = Vocabulary("item", "int64", 1, None, pa.array([7, 9]), counts)
    write_values(tmp_path / "v.arrow", [vocabulary])
    with pytest.raises(DataError, match="3 counts of the 2 values of 'item'"):
        read_values(tmp_path / "v.arrow")
