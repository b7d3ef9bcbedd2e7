"""The arms: the module that runs each, and the packages of its environment."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import Worker, peer_environment, worker


class Arm(NamedTuple):
    """The module that runs it, and its packages, the peer first; none for our own environment."""

    module: str
    requirements: tuple[str, ...] = ()


RECHUB = Arm("rechub", ("torch-rechub==0.9.0", "pyarrow"))
DEEPCTR = Arm("deepctr", ("deepctr-torch==0.3.0", "pyarrow"))
TRAINED = {
    "recmtl": Arm("ours"),
    "recmtl_pruned": Arm("ours"),
    "plain_sparse": Arm("plain"),
    "plain_dense": Arm("plain"),
    "rechub": RECHUB,
    "rechub_fused": RECHUB,
    "deepctr": DEEPCTR,
    "deepctr_no_l2": DEEPCTR,
    "deepctr_fused": DEEPCTR,
}
BESIDE = ("recmtl", "rechub", "rechub_fused", "deepctr", "deepctr_fused")
"""The arms that are measured with other networks, too."""
SCORED = {
    "recmtl": Arm("ours"),
    "recmtl_onnx": Arm("ours"),
    "recmtl_pruned": Arm("ours"),
    "recmtl_pruned_onnx": Arm("ours"),
    "recmtl_2048": Arm("ours"),
    "recmtl_pruned_2048": Arm("ours"),
    "onnx": Arm("ours"),
    "plain_sparse": Arm("plain"),
    "rechub": RECHUB,
    "deepctr": DEEPCTR,
}


@contextmanager
def workers(
    arms: Mapping[str, Arm], folder: Path, *, network: str, threads: int, pinned: bool
) -> Iterator[dict[str, Worker]]:
    """Start a process for each arm, with this network and the log in `folder`."""
    with ExitStack() as held:
        yield {
            name: held.enter_context(
                worker(
                    _command(name, arm, folder, network),
                    folder / f"{name}.log",
                    threads,
                    pinned=pinned,
                )
            )
            for name, arm in arms.items()
        }


def _command(name: str, arm: Arm, folder: Path, network: str) -> Sequence[str]:
    python = str(peer_environment(*arm.requirements)) if arm.requirements else sys.executable
    return [python, "-m", f"benchmarks.speed.{arm.module}", str(folder), name, network]
