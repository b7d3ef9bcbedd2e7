"""recmtl's arms of the latency benchmark, in a process of their own: `... FOLDER SIZE`."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.serving.shop import BY, ROWS, read
from benchmarks.worker import nanoseconds, work
from recmtl.serve import Ranker
from recmtl.serve.bundle.onnx_export import NETWORK_FILE
from recmtl.serve.scoring.onnx import OnnxNetwork

TOP = {"by": BY, "k": 20, "keep": ["item_id"]}


def main(folder: Path, size: str) -> None:
    """Load bundles and requests, then carry out orders."""
    torch.set_num_threads(1)
    requests, table = read(folder), pq.read_table(folder / "requests.parquet")
    joined = [table.slice(first, ROWS) for first in range(0, table.num_rows, ROWS)]
    joined = [rows.take(pa.array(range(ROWS))).combine_chunks() for rows in joined]
    fast, plain = (Ranker.load(folder / size, engine=engine) for engine in ("onnx", "torch"))
    bundle = plain.scorer.bundle
    encoded = [bundle.encoder.encode(rows) for rows in joined]
    network = OnnxNetwork(bundle.folder / NETWORK_FILE, bundle.model.columns)

    def network_in_torch(number: int) -> object:
        ids, numeric = encoded[number].ids, encoded[number].numeric
        return bundle.model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()

    arms = {
        "request_onnx": lambda n: fast.rank_request(*requests[n], **TOP),
        "rows_onnx": lambda n: fast.rank(joined[n], **TOP),
        "request_torch": lambda n: plain.rank_request(*requests[n], **TOP),
        "rows_torch": lambda n: plain.rank(joined[n], **TOP),
        "network_onnx": lambda n: network.scores(encoded[n].ids, encoded[n].numeric),
        "network_torch": network_in_torch,
    }
    cost = bundle.model.cost()
    orders = {name: nanoseconds(arm) for name, arm in arms.items()}
    work(orders, {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
