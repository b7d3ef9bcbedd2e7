"""Does tuning pay? `python -m benchmarks.tuning LOG`: tuned, random search, defaults, at equal CPU.

Every arm gets the processor seconds that the tuning took, and hands over one network, chosen on
validation rows:

    tuned      `recmtl tune` as it is published: draws by TPE, halved, finals
    random     the same space drawn evenly, every trial trained to the end, the same finals
    defaults   the log's configuration itself, trained with as many seeds as that time allows
    default    the log's configuration, trained once; it costs one training

Each is repeated with `--seeds` seeds, and test rows judge the networks that were handed over: a
repetition is a seed of the paired test, so that its intervals hold the luck of the tuning. What is
done is read back, so that a benchmark that was killed goes on. `--page` only rewrites the page.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.board.logs import LOGS, BoardLog, data_folder
from benchmarks.pages import paragraph
from benchmarks.processes import ROOT
from recmtl.atomic import read_json, write_json, write_text
from recmtl.evaluate.results import plain, summary
from recmtl.evaluate.task_metrics import validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.job.fit import ModelResult
from recmtl.job.open_job import open_job, tracked_run
from recmtl.job.outcome import metric_groups
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.report.tables import format_gain, markdown_table, words
from recmtl.simulate import simulate
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem
from recmtl.tuning.tune import tune_job

PAGES, RUNS = ROOT / "docs" / "benchmarks" / "tuning", ROOT / "runs" / "tuning"
SEED_STEP = 1000
"""Seeds of one repetition lie closer together than those of two."""
ARMS = ("tuned", "random", "defaults", "default")
SUBJECT = "tuned"
SIMULATED, SIMULATED_ROWS = "log.parquet", 200_000


@dataclass(frozen=True)
class Repetition:
    """One repetition of all arms.

    Attributes:
        folder: where it lies.
        shared: the folder whose encoded log all arms of all repetitions have.
        data: the log.
        schema: of it.
        config: of it, with the seed of the repetition.
    """

    folder: Path
    shared: Path
    data: Path
    schema: Path
    config: Config

    def results(self) -> dict[str, dict[str, Any]]:
        """Arm -> its network on test rows (`result`), its `cpu_s`, and what it `chose`."""
        tuned = self.tuned("tuned", self.config)
        budget, arms = float(tuned["cpu_s"]), {"tuned": self.handed_over("tuned", tuned)}
        arms["random"] = self.handed_over("random", self.random_search(tuned, budget))
        seeds = self.defaults(budget)
        best = max(seeds, key=lambda seed: seeds[seed].validation_score or -np.inf)
        spent = sum(_cpu_s(result) for result in seeds.values())
        arms["defaults"] = {"result": seeds[best], "cpu_s": spent, "chose": f"{len(seeds)} seeds"}
        first = seeds[self.config.seed]
        arms["default"] = {"result": first, "cpu_s": _cpu_s(first), "chose": "one training"}
        return arms

    def tuned(self, name: str, config: Config) -> dict[str, Any]:
        """The content of tune.json of a tuning in a folder of this name, which may go on."""
        out, console = self.folder / name, Console(stderr=True)
        if out != self.shared and not (out / LOG).exists():
            out.mkdir(parents=True, exist_ok=True)
            (out / LOG).symlink_to((self.shared / LOG).resolve())  # the same rows, encoded once
        with (
            open_job(
                data=self.data, schema=self.schema, config=config, out=out, console=console
            ) as job,
            tracked_run(job, f"tuning {name}") as run,
        ):
            results: dict[str, Any] = plain(tune_job(job, run))
            return results

    def random_search(self, tuned: Mapping[str, Any], budget: float) -> dict[str, Any]:
        """A random search that has taken as long as the tuning, or one trial longer."""
        whole = max(float(tuned["trials"][0]["cpu_s"]), 1e-9)
        finals = self.config.tune.finalists * (self.config.tune.seeds - 1)
        trials = max(1, int(budget / whole) - finals - self.config.tune.seeds)
        while True:
            settings = replace(self.config.tune, sampler="random", halving=False, trials=trials)
            results = self.tuned("random", replace(self.config, tune=settings))
            left = budget - float(results["cpu_s"])
            if left <= 0:
                return results
            mean = np.mean([trial["cpu_s"] for trial in results["trials"]])
            trials += max(1, int(left / mean))

    def defaults(self, budget: float) -> dict[int, ModelResult]:
        """Seed -> network of the configuration, as many as the budget allows, and one at least."""
        study, seeds = self._study("defaults", self.config), dict[int, ModelResult]()
        while not seeds or sum(map(_cpu_s, seeds.values())) < budget:
            seed = self.config.seed + len(seeds)
            seeds[seed] = study.trained(self.config.tune.model, seed)
        return seeds

    def handed_over(self, name: str, results: Mapping[str, Any]) -> dict[str, Any]:
        """The network of the chosen settings whose seed was best on validation rows.

        A tuning keeps no weights; the same seed gives the same network again.
        """
        config = Config.load(self.folder / name / "tuned.yaml")
        seeds = results["chosen"]["seeds"]
        seed = int(max(seeds, key=lambda seed: seeds[seed]))
        result = self._study(name, config).trained(config.tune.model, seed)
        chose = f"trial {results['chosen']['number']} of {len(results['trials']) - 1}"
        return {"result": result, "cpu_s": float(results["cpu_s"]), "chose": chose}

    def problem(self, config: Config | None = None) -> TabularProblem:
        """The log with its test rows, which only the networks that are handed over see."""
        return TABULAR_PROBLEMS.open(self.shared, config or self.config)

    def _study(self, name: str, config: Config) -> Study[TabularProblem, Config]:
        folder = self.folder / "handed_over" / name
        return Study(folder, TABULAR_PROBLEMS, self.problem(config), config)


def measured(name: str, log: BoardLog, config: Config, *, seeds: int, out: Path) -> dict[str, Any]:
    """The content of a log's JSON file: every arm judged on test rows over the repetitions."""
    arms: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in ARMS}
    shared, data = out / "0" / SUBJECT, data_folder() / log.data if log.data else out / SIMULATED
    if not log.data and not data.exists():
        out.mkdir(parents=True, exist_ok=True)
        simulate(data, SIMULATED_ROWS, seed=config.seed)
    for number in range(seeds):
        repeated = replace(config, seed=config.seed + SEED_STEP * number)
        repetition = Repetition(out / str(number), shared, data, ROOT / log.schema, repeated)
        for arm, facts in repetition.results().items():
            arms[arm][number] = facts
    return {"log": name, "rows": log.rows, **_judged(arms, repetition.problem(), config)}


def _judged(
    arms: Mapping[str, Mapping[int, Mapping[str, Any]]], problem: TabularProblem, config: Config
) -> dict[str, Any]:
    rows = problem.test
    verdict = judge_transfer(
        {a: {n: facts["result"].predictions for n, facts in of.items()} for a, of in arms.items()},
        np.asarray(rows.labels),
        problem.tasks,
        group=metric_groups(rows.group),
        weight=np.asarray(rows.weight),
        subject=SUBJECT,
        decisive="defaults",
        resamples=config.evidence.bootstrap,
    )
    shown = {}
    for arm, repetitions in arms.items():
        metrics = [problem.judged(facts["result"].predictions) for facts in repetitions.values()]
        shown[arm] = {
            "score": summary([validation_score(m, problem.tasks) for m in metrics]),
            "tasks": {
                task: summary([problem.primary(m)[task] for m in metrics])
                for task in problem.primary(metrics[0])
            },
            "cpu_s": float(np.mean([facts["cpu_s"] for facts in repetitions.values()])),
            "chose": [facts["chose"] for facts in repetitions.values()],
        }
    settings = {"model": config.tune.model, "trials": config.tune.trials}
    judged: dict[str, Any] = plain(
        {**settings, "arms": shown, "mean": verdict.mean, "tasks": verdict.tasks}
    )
    return judged


def page(results: Mapping[str, Any]) -> str:
    """The results of a log as a page of Markdown."""
    arms, others = results["arms"], [arm for arm in ARMS if arm != SUBJECT]
    seeds = len(arms[SUBJECT]["chose"])
    lines = [
        f"# Tuning on {results['log']}",
        "",
        *paragraph(
            f"`python -m benchmarks.tuning {results['log']}`: {results['model']} with the settings",
            f"of {results['trials']} trials, of a random search and of the log's configuration,",
            "all but the last row at equal processor seconds; each arm hands over the network that",
            f"is best on validation rows, {seeds} times. Figures are means over these repetitions",
            f"on test rows: {results['rows']}",
        ),
        *markdown_table(["arm", "score", *arms[SUBJECT]["tasks"], "CPU s"], _arm_rows(arms)),
        *paragraph(_verdict(results, others)),
        *markdown_table(
            ["task", "metric", *(f"tuned against {other}" for other in others)],
            _gain_rows(results, others),
        ),
    ]
    return "\n".join(lines) + "\n"


def _arm_rows(arms: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for arm in ARMS:
        cells = [arms[arm]["score"], *arms[arm]["tasks"].values()]
        shown = [f"{cell['mean']:.4f} ± {cell['std']:.4f}" for cell in cells]
        rows.append([arm, *shown, f"{arms[arm]['cpu_s']:,.0f}"])
    return rows


def _gain_rows(results: Mapping[str, Any], others: list[str]) -> list[list[str]]:
    entries = [*results["tasks"].items(), ("mean over the tasks", results["mean"])]
    return [
        [
            task,
            words(entry["metric"]) if "metric" in entry else "score",
            *(f"{format_gain(e)}, {e['verdict']}" if (e := entry.get(o)) else "" for o in others),
        ]
        for task, entry in entries
    ]


def _verdict(results: Mapping[str, Any], others: list[str]) -> str:
    """Where tuning is ahead on the mean, and where a task is proven behind."""
    sentences = []
    for other in others:
        verdict = results["mean"].get(other, {}).get("verdict")
        place = {"helped": "proven ahead of", "hurt": "proven behind"}
        word = place.get(verdict, "neither proven ahead of nor behind")
        sentences.append(f"On the mean the tuned networks are {word} {other}.")
        of_tasks = {task: entry.get(other, {}) for task, entry in results["tasks"].items()}
        hurt = [task for task, gain in of_tasks.items() if gain.get("verdict") == "hurt"]
        if hurt:
            sentences.append(f"They are proven behind {other} on {', '.join(hurt)}.")
    return " ".join(sentences)


def _cpu_s(result: ModelResult) -> float:
    return float(result.cost.get("cpu_s") or 0.0)


def main() -> int:
    """Measure a log, print its page, and write `docs/benchmarks/tuning/LOG.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("log", choices=list(LOGS))
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of every arm")
    parser.add_argument("--trials", type=int, default=0, help="of a tuning, if not the default")
    parser.add_argument("--processes", type=int, default=0, help="that train trials; 0: one a core")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    file, log = PAGES / f"{options.log}.json", LOGS[options.log]
    if not options.page:
        config = Config.load(ROOT / log.config)
        tune = replace(config.tune, trials=options.trials or config.tune.trials)
        config = replace(config, tune=tune, workers=options.processes)
        out = RUNS / options.log
        results = measured(options.log, log, config, seeds=options.seeds, out=out)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, results)
    text = page(read_json(file, remedy="run the benchmark without --page"))
    write_text(file.with_suffix(".md"), text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
