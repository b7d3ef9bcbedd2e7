"""Images per second of AdaShare's ResNet-34 at full size, with all blocks and pruned.

python -m benchmarks.vision [--batch 16] [--size 321] [--steps 10] [--mixed] [--out FOLDER]

Images and targets are random, in the shapes of NYUv2 with three tasks, so no data set is needed.
The page sets the speed-up of a pruned network, over the network in which every task runs every
block, beside the quotient of their multiply-adds.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recmtl.grid import LayerRoutes, Layout, Routes, prune
from recmtl.model import ModelSizes
from recmtl.train.optimizer import Optimizer
from recmtl.vision.config import VisionConfig
from recmtl.vision.data.examples import ImageTask
from recmtl.vision.heads import ImageHeadSpec
from recmtl.vision.model import ImageInput, ImageModel
from recmtl.vision.problem import ImageProblem

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "pipelines" / "configs" / "nyuv2" / "adashare_3task.yaml"
TASKS = (
    ImageTask("segmentation", "segmentation", 40),
    ImageTask("normals", "normals", 3),
    ImageTask("depth", "depth", 1),
)
SHARES = (0.75, 0.5, 0.25)


def main() -> int:
    """Measure every network, print the table, and write `vision.{json,md}`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=321, help="height and width of an image")
    parser.add_argument("--steps", type=int, default=10, help="measured steps; two more warm up")
    parser.add_argument("--only", default="", help="measure only networks whose name contains this")
    parser.add_argument("--mixed", action="store_true", help="products in bfloat16")
    parser.add_argument("--out", default=str(ROOT / "docs" / "benchmarks"))
    options = parser.parse_args()
    config = VisionConfig.load(CONFIG)
    network = replace(config.network, mixed=options.mixed)
    config = replace(config, network=network)
    device = network.resolve_device()
    torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
    problem = _problem(config, options.size)
    rows = []
    for name, layout in _layouts(problem).items():
        if options.only not in name:
            continue
        torch.manual_seed(0)
        model = problem.network(layout, ModelSizes()).to(device)
        rows.append({"network": name, **_measured(model, config, options, device)})
        sys.stdout.write(f"{json.dumps(rows[-1])}\n")
        sys.stdout.flush()
        del model
    facts = {"device": _device_name(device), "torch": torch.__version__, **vars(options)}
    facts = {name: value for name, value in facts.items() if name not in ("out", "only")}
    out = Path(options.out)
    label = f"vision_{device}{'_mixed' if options.mixed else ''}"
    (out / f"{label}.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    (out / f"{label}.md").write_text(page({**facts, "rows": rows}))
    return 0


def _problem(config: VisionConfig, size: int) -> ImageProblem:
    """The problem without images: channels, tasks and network."""
    channels = ImageInput((0.5,) * 3, (1 / 255,) * 3, (size, size))
    heads = [ImageHeadSpec(task, config.task_weights[task.name]) for task in TASKS]
    nothing: Any = argparse.Namespace(device=config.network.resolve_device())
    return ImageProblem(nothing, nothing, nothing, channels, tuple(heads), config.network)


def _layouts(problem: ImageProblem) -> dict[str, Layout]:
    """Shared bottom, every block run by every task, and routes that run a share of the blocks."""
    space = problem.layout("adashare")
    layouts = {"shared bottom": problem.layout("shared_bottom"), "every block, by each task": space}
    for share in SHARES:
        random = np.random.default_rng(0)
        layers = tuple(
            LayerRoutes(layer.edges, (-1,) * 3, tuple((random.random(3) < share).tolist()))
            for layer in space.layers
        )
        layouts[f"{share:.0%} of the blocks, pruned"] = prune(space, Routes(layers)).layout
    return layouts


def _measured(
    model: ImageModel, config: VisionConfig, options: argparse.Namespace, device: str
) -> dict[str, Any]:
    size, batch = options.size, options.batch
    images = torch.rand(batch, 3, size, size, device=device)
    normals = torch.nn.functional.normalize(torch.randn(batch, 3, size, size, device=device))
    targets = (
        torch.randint(0, 40, (batch, size, size), device=device),
        normals,
        torch.rand(batch, 1, size, size, device=device) + 1.0,
    )
    optimizer = Optimizer(model, config.training, total_steps=100)
    weight = torch.ones(batch, device=device)

    def step() -> None:
        losses = model.heads.losses(model.train()(images), targets, weight)
        optimizer.step((losses * model.heads.loss_scale(0.0)).sum())

    @torch.inference_mode()
    def forward() -> list[Tensor]:
        return model.eval()(images)

    cost = model.cost()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train_s = _seconds(step, options.steps, device)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device == "cuda":
        memory = torch.cuda.max_memory_allocated()
    return {
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "train_images_per_s": batch / train_s,
        "forward_images_per_s": batch / _seconds(forward, options.steps, device),
        "memory_bytes": memory,
    }


def _seconds(work: Callable[[], object], steps: int, device: str) -> float:
    """Median seconds of a call after up to two that warm up; a single step has no warm-up."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken, warm = [], min(2, steps - 1)
    for _ in range(steps + warm):
        began = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - began)
    return statistics.median(taken[warm:])


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return "one processor core (seconds of the core; memory is the peak so far)"


def page(figures: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    rows = figures["rows"]
    full = next((row for row in rows if row["network"].startswith("every")), rows[0])
    head = (
        "| network | parameters | multiply-adds | train images/s | forward images/s | memory GB |"
    )
    head += " multiply-adds, full / own | speed-up in training | forward |"
    lines = [head, "|" + " --- |" * 9]
    for row in rows:
        memory = f"{row['memory_bytes'] / 2**30:.1f}"
        quotients = [
            full["multiply_adds"] / row["multiply_adds"],
            row["train_images_per_s"] / full["train_images_per_s"],
            row["forward_images_per_s"] / full["forward_images_per_s"],
        ]
        cells = [
            row["network"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e9:.1f} G",
            f"{row['train_images_per_s']:.3g}",
            f"{row['forward_images_per_s']:.3g}",
            memory,
            *(f"{value:.2f}" for value in quotients),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    products = "bfloat16 products" if figures["mixed"] else "float32"
    intro = (
        f"AdaShare's ResNet-34, three ASPP heads, {figures['size']} x {figures['size']}, batch "
        f"{figures['batch']}, {figures['device']}, torch {figures['torch']}, {products}, median of "
        f"{figures['steps']}. Heads cost the same in every row."
    )
    return "\n".join(["# ResNet-34 at full size", "", intro, "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
