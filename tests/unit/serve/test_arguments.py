"""Whatever is passed for an argument: an answer, or one line of recmtl's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recmtl.errors import RecmtlError
from recmtl.serve import Formula, Ranker, Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.bundle.onnx_export import export
from recmtl.serve.ranking.fusion import fuse
from tests.unit.serve.shop import USER, make_log

ODD: list[Any] = [
    None, 0, -1, 1.5, float("nan"), 10**30, True, np.int64(3), "", "x", "a\nb", b"x", "\0", [], [1],
    ["x"], [None], (), {}, {1: 2}, {"clicked": None}, set(), object(), len, np.array([1]),
    np.zeros((2, 2)), pd.Series([1]), pa.array([1]), ["p_click", "p_click"],
]  # fmt: skip
LOG = make_log(12)
GROUP, COLUMN, LABEL = np.arange(12) // 4, np.linspace(0.1, 0.9, 12), np.arange(12) % 3 == 0


def given(scorer: Scorer, bundle: Path, tmp_path: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every public call of serving with arguments that are right."""
    ranker = Ranker(scorer)
    user = {name: LOG[name][3].as_py() for name in USER}
    candidates, nowhere = LOG.drop_columns(USER), tmp_path / "none" / "x"
    rows = {"by": "p_click", "k": 3, "keep": ["item"]}
    reasons = ranker.explain(LOG.slice(0, 2), steps=1)
    parts = {"model": scorer.bundle.model, "encoder": scorer.bundle.encoder, "rows": LOG}
    load = {"path_or_uri": bundle, "chunk_rows": 64, "threads": 1, "engine": "torch"}
    fused = {"columns": {"a": COLUMN}, "labels": {"y": LABEL}, "target": {"y": 1.0}}
    out = {"source": tmp_path / "none", "output": tmp_path / "out", "keep": ["item"]}
    return {
        "load": (Scorer.load, load),
        "bundle": (load_bundle, {"path_or_uri": bundle}),
        "ranker": (Ranker, {"scorer": scorer, "user": ["age"]}),
        "score": (scorer.score, {"frame": LOG}),
        "rank": (ranker.rank, {"frame": LOG, "group": "request", **rows}),
        "request": (ranker.rank_request, {"user": user, "candidates": candidates, **rows}),
        "explain": (ranker.explain, {"frame": LOG.slice(0, 1), "task": "click", "steps": 1}),
        "table": (reasons.table, {"k": 2}),
        "text": (reasons.text, {"row": 0, "k": 2}),
        "fuse": (fuse, {**fused, "group": GROUP, "k": 3, "seed": 0, "tries": 2}),
        "ranker.fuse": (ranker.fuse, {"frame": LOG, "target": {"clicked": 1.0}, "group": "request",
                                      "columns": ["p_click"], "k": 3, "seed": 0}),
        "formula": (Formula, {"text": "a"}),
        "export": (export, {"bundle": tmp_path / "none", "path": tmp_path / "x"}),
        "export for": (lambda **o: export(bundle, nowhere, **o), {"user": ["none"]}),
        "save": (save_bundle, {"folder": tmp_path / "new", "metrics": {}, "notes": "", "user": (),
                               "unknown": None, "calibrators": None, **parts}),
        "parquet": (score_parquet, {"scorer": scorer, "resume": False, "part_rows": 10, **out,
                                    "quarantine": None, "drift": "warn", "drift_limit": 0.1}),
    }  # fmt: skip


CALLS = ["load", "bundle", "ranker", "score", "rank", "request", "explain", "table", "text", "fuse",
         "ranker.fuse", "formula", "export", "export for", "save", "parquet"]  # fmt: skip


def answered(call: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    try:
        call(**arguments)
    except RecmtlError as error:
        assert "\n" not in str(error), arguments
        return False
    return True


@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments_get_an_answer_or_one_line(
    name: str, scorer: Scorer, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # "x" is a good path
    call, right = given(scorer, bundle, tmp_path)[name]
    answered(call, right)
    refused = 0
    for argument in right:
        for odd in ODD:
            if name == "export for" and type(odd) in (list, tuple, set) and not odd:
                continue  # no user: a whole export, and right
            refused += not answered(call, right | {argument: odd})
    assert refused > len(ODD) // 3
    if name == "request":
        for column in USER:
            for odd in ODD:
                user = right["user"] | {column: odd}
                answered(call, right | {"user": user})
