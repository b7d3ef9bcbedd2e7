"""The command line that every step of the main job shares."""

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console

from recmtl.job.handed_on import JobContext
from recmtl.job.open_job import open_job, output_folder, tracked_run
from recmtl.script import ErrorLine, add_debug_option, advise_to_go_on
from recmtl.tracking import TrackedRun
from recmtl.train.presets import PRESETS

__all__ = ["run_step"]

ABLATES = ("main", "evaluate", "benchmark")
"""The steps that train what shows what moved the metric."""


def run_step(
    name: str,
    step: Callable[[JobContext, TrackedRun], None],
    arguments: Sequence[str] | None = None,
    *,
    blind: Callable[[JobContext, TrackedRun], None] | None = None,
) -> int:
    """Run one step with the common options; returns 0, or 2 after a one-line error.

    Without `--data` a step goes on with the input that the output folder was begun with; a new
    folder gets a simulated log, written there. With `blind`, the option `--validation-only` runs
    that function in place of the step.
    """
    options = _parse(name, arguments, hides_test=blind is not None)
    chosen = blind if blind is not None and options.validation_only else step
    console = Console(stderr=True)
    with ErrorLine(console, debug=options.debug) as error:
        out = output_folder(options.out)
        advise_to_go_on(options.out, out)
        with (
            open_job(
                data=options.data,
                schema=options.schema,
                config=options.config,
                preset=options.preset,
                out=out,
                seeds=int(options.seeds),
                ablation=not getattr(options, "no_ablation", False),
                promote=getattr(options, "promote", ""),
                like=getattr(options, "like", ""),
                console=console,
            ) as job,
            tracked_run(job, name) as run,
        ):
            chosen(job, run)
    return error.status


def _parse(name: str, arguments: Sequence[str] | None, *, hides_test: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"recmtl: {name}")
    parser.add_argument("--data", default="", help="Parquet, folder or glob; simulated if empty")
    parser.add_argument("--schema", default="", help="schema YAML of the data")
    parser.add_argument("--config", default="", help="YAML of sizes, search, training, evidence")
    preset = "settings that the configuration does not give, from quick to thorough"
    parser.add_argument("--preset", choices=["", *PRESETS], default="", help=preset)
    parser.add_argument("--out", default="", help="output folder; runs/<utc time> if empty")
    parser.add_argument("--seeds", type=float, default=0, help="seeds of every model, if not 0")
    add_debug_option(parser)
    if name == "prepare":
        like = "earlier encoded log of the same schema, whose vocabularies are kept: added days"
        parser.add_argument("--like", default="", help=like)
    if name in ABLATES:
        leave_out = "do not train the networks that show what moved the metric"
        parser.add_argument("--no-ablation", action="store_true", help=leave_out)
    if name == "main":
        promote = "make the new model champion or not, whatever the comparison with it says"
        parser.add_argument("--promote", choices=["", "always", "never"], default="", help=promote)
    if hides_test:
        blind = "make figures on validation rows only, so that settings are chosen without test"
        parser.add_argument("--validation-only", action="store_true", help=blind)
    return parser.parse_args(arguments)
