"""The benchmark of speed: equal networks in its arms, and a page that says what its figures say."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.processes import worker
from benchmarks.speed import ours, plain, shape
from benchmarks.speed.arms import SCORED, TRAINED
from benchmarks.speed.page import ARMS, page

NETWORK = shape.NETWORKS["mmoe"]


def arm(cpu: float) -> dict[str, Any]:
    rates = {"cpu": [cpu, cpu - 1, cpu + 1], "wall": [cpu - 10, 0, 0], "page_faults": 5}
    auc = dict.fromkeys(shape.TASKS, 0.75)
    return {"train": rates, "score": rates, "peak_mb": 512.0, "auc": auc, "parameters": 1000}


def ratios(arms: Iterable[str]) -> dict[str, Any]:
    return {name: {"cpu": [6.0, 5.5, 6.5], "wall": [6.0, 5.5, 6.5]} for name in arms}


def training() -> dict[str, Any]:
    size = {"arms": {name: arm(40_000) for name in TRAINED}, "ratios": ratios(TRAINED)}
    facts = {"threads": 1, "batch": 2048, "slices": 7, "steps": 18, "load": [0.1, 0.2]}
    return {**facts, "processor": "a processor", "sizes": {"large": size}}


def test_every_arm_has_a_line_and_every_target_a_verdict() -> None:
    assert ARMS.keys() == TRAINED.keys() | SCORED.keys()
    text = page({"training_1": training()})
    line = "| 40,000 (39,999 to 40,001) | 39,990 | 6.00 (5.50 to 6.50) | 40,000 | 512 | 0.7500 |"
    assert text.count(line) == len(TRAINED) - 1
    assert "torch-rechub 0.9.0, as shipped 5 times, reached" in text.replace("\n", " ")
    assert "as shipped (L2 over tables) 7 times, missed" in text.replace("\n", " ")
    assert "pruned 2.5 times the full network, missed (0.17)" in text.replace("\n", " ")
    assert "1,269,420 ids" in text and "Where a step goes" not in text


def test_scoring_stands_beside_the_peers_and_the_runtime() -> None:
    arms = {name: arm(200_000) for name in SCORED}
    ours = {name: ratios(SCORED) for name in SCORED if name.startswith("recmtl")}
    ours["recmtl_pruned"]["deepctr"]["cpu"][0] = 3.5
    facts = {"threads": 1, "rows": 98_304, "repeats": 7, "load": [0.1, 0.2], "processor": "one"}
    text = page({"scoring_1": {**facts, "sizes": {"small": {"arms": arms, "ratios": ours}}}})
    assert "| ONNX Runtime alone | 200,000 | 199,990 | 512 | 6.00 | 6.00 | 6.00 | 6.00 |" in text
    flat = text.replace("\n", " ")
    assert "`--network onnx` 1 times ONNX Runtime alone, reached" in flat
    assert "pruned to a quarter of the multiply-adds 4 times DeepCTR-Torch" in flat
    assert flat.count("missed") == 1


def test_a_step_stands_beside_its_floor() -> None:
    parts, floor = {"lookup": 3.0, "backward": 9.0}, {"products": 4.0, "gather": 1.0, "update": 3.0}
    facts = {"processor": "a processor", "peak_gflops": 100.0, "distinct_rows": 15_000.0}
    text = page({"breakdown": {"small": {**facts, "parts_ms": parts, "floor_ms": floor}}})
    assert "| backward | 9.00 | 75% |" in text
    assert "Together 12.0 ms; the floor is 8.0 ms (4.0 products at 100 GFLOP/s" in text
    assert "1.50 times the floor" in text.replace("\n", " ")


def test_the_reference_is_the_catalogue_s_network(tmp_path: Path) -> None:
    """The same function: with the reference's weights ours gives the same logits in float64."""
    labels = np.array([[0, 0], [1, 0], [1, 1]], np.float32)
    model = ours.network(tmp_path / "small", labels).double()
    reference = plain.Plain(model.encoder.table.num_embeddings, 24, NETWORK, sparse=True).double()
    assert model.cost().multiply_adds == shape.multiply_adds()
    layer = model.grid.layer(0)
    towers, last = model.heads.tower, model.heads.logits[0]
    with torch.no_grad():
        model.encoder.table.weight.copy_(reference.table.weight)
        for depth in (0, 1):
            linears = [expert[2 * depth] for expert in reference.experts]
            layer.experts.weights[depth].copy_(torch.stack([one.weight.t() for one in linears]))
            layer.experts.biases[depth][:, 0].copy_(torch.stack([one.bias for one in linears]))
            linears = [tower[2 * depth] for tower in reference.towers]
            part = (towers, last)[depth]
            part.weights[0].copy_(torch.stack([one.weight.t() for one in linears]))
            part.biases[0][:, 0].copy_(torch.stack([one.bias for one in linears]))
        gate = layer.gate.linears[0]
        gate.weight.copy_(torch.cat([one.weight for one in reference.gates]))
        gate.bias.copy_(torch.cat([one.bias for one in reference.gates]))
    ids = torch.randint(1, 1000, (7, 24), generator=torch.manual_seed(0))
    found = torch.cat(model(ids, torch.empty(7, 0, dtype=torch.float64)), 1)
    torch.testing.assert_close(found, reference(ids), rtol=1e-12, atol=1e-12)


def test_a_worker_answers_orders_and_not_what_libraries_print(tmp_path: Path) -> None:
    script = (
        "from benchmarks.worker import work\nprint('hello')\n"
        "work({'double': lambda n: [print('noise'), 2 * n][1]}, {'ready': True})"
    )
    command = [sys.executable, "-c", script]
    with worker(command, tmp_path / "log", pinned=False) as process:
        assert process.facts == {"ready": True}
        assert process.run("double", 21) == 42
