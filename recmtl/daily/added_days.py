"""The encoded log of added days: their vocabularies grown, their statistics going on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recmtl.daily.growth import grown, rows_of_values, split_of_days, write_base
from recmtl.daily.parent import Parent
from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.counted_log import CountedLog
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.reader import Log, open_log
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.vocabulary_drift import UnknownCounter
from recmtl.errors import DataError
from recmtl.job.handed_on import JobContext
from recmtl.job.problem_kind import FOREST, LOG
from recmtl.job.work.begun import refuse_another_study
from recmtl.model import BlendedModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import Schema
from recmtl.train.blend import ForestLogits
from recmtl.train.tabular_problem import TabularProblem

if TYPE_CHECKING:
    from recmtl.forest.grown import GrownForests  # it imports LightGBM

__all__ = ["AddedDays", "added_days"]

BASE = "base"
"""Folder of the log without rows, which the days are prepared like, in the output folder."""


@dataclass(frozen=True)
class AddedDays:
    """The encoded log of the added days.

    Attributes:
        log: the encoded log.
        base: the log without rows that it was prepared like, with what has grown.
        parent: the bundle whose encoder has grown.
        out: the output folder of the update.
    """

    log: EncodedLog
    base: EncodedLog
    parent: Parent
    out: Path

    @cached_property
    def encoder(self) -> RowEncoder:
        """The fitted encoder, with the statistics up to the end of the days."""
        return self.log.encoder()

    @cached_property
    def starts(self) -> np.ndarray:
        """Of each row of the embedding table, the parent's row that it starts from."""
        return rows_of_values(self.parent.bundle.encoder, self.encoder)

    @cached_property
    def trees(self) -> "GrownForests | None":
        """The parent's forests over the grown vocabularies: no label of the days is theirs."""
        if (forests := self.parent.bundle.forests) is None:
            return None
        # Here, since LightGBM is slow to load, and most bundles have no trees.
        from recmtl.forest.grown import kept_forests

        forests = forests.grown(self.starts, self.log.encoding)
        return kept_forests(self.log, self.out / FOREST, forests)

    @property
    def grown(self) -> dict[str, Any]:
        """JSON: `span` and `split` of the days; of vocabularies `before`, `new`, `retired`."""
        facts: dict[str, Any] = self.base.manifest["growth"]
        return facts

    def problem(self, job: JobContext) -> TabularProblem:
        """The days as the parent's networks are trained on them: with its heads and sources."""
        training = job.config.training
        problem = TabularProblem.of(self.log, training.stop_metric, training.rare_ids, self.trees)
        heard = set(self.parent.networks[0].encoder.encoding.fields)
        sources = [name for name, fields in problem.sources.items() if heard.issuperset(fields)]
        return replace(problem, heads=self._heads).hearing(sources).sampled(training.rows)

    @property
    def forest_logits(self) -> ForestLogits | None:
        """What the forests say of the days, where they are a member of the parent's blend."""
        model = self.parent.bundle.model
        if self.trees is None or not isinstance(model, BlendedModel) or model.forest is None:
            return None
        return ForestLogits.of(self.trees, self._heads)

    @property
    def _heads(self) -> tuple[HeadSpec, ...]:
        """The parent's: a network's outputs mean something by its means and deviations alone."""
        return tuple(self.parent.bundle.model.heads.specs)


def added_days(job: JobContext, parent: Parent, *, retire_after: str = "") -> AddedDays:
    """Encode the added days into the output folder, or open what is there already.

    Args:
        job: with the days as its data.
        parent: the bundle whose vocabularies grow, and whose statistics go on.
        retire_after: retire ids that no train row has had for so long; empty retires none.

    Raises:
        DataError: the days are not what the schema says, or statistics have counted them already.
        ConfigError: the output folder was begun with another update.
    """
    schema = _unsplit(parent.bundle.encoder.schema)
    raw = open_log(job.data, schema.tables, layout=schema.files, formulas=schema.formulas)
    fingerprint = _fingerprint(parent, raw, retire_after)
    facts = {"update": {"parent": parent.bundle.fingerprint, "retire_after": retire_after}}
    refuse_another_study(job.out, facts, note=False)
    base = _base(job, parent, raw, schema, retire_after=retire_after, fingerprint=fingerprint)

    def progress(stage: str, done: int, total: int) -> None:
        job.on_progress(f"prepare: {stage}", done, total, None)

    def admit(of_input: Mapping[str, Any]) -> None:
        facts.update(of_input)
        refuse_another_study(job.out, facts, note=False)

    log = prepare(job.data, base.schema, job.out / LOG, like=base, progress=progress, admit=admit)
    refuse_another_study(job.out, facts)
    job.on_admitted()
    return AddedDays(log, base, parent, job.out)


def _unsplit(schema: Schema) -> Schema:
    """The schema without the times at which one log was split."""
    split = replace(schema.split, validation_from=None, test_from=None)
    return replace(schema, split=split)


def _fingerprint(parent: Parent, raw: Log, retire_after: str) -> str:
    """Of what the grown encoder depends on."""
    contents = {name: str(content) for name, content in raw.content().items()}
    text = json.dumps([parent.bundle.fingerprint, retire_after, contents])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _base(
    job: JobContext,
    parent: Parent,
    raw: Log,
    schema: Schema,
    *,
    retire_after: str,
    fingerprint: str,
) -> EncodedLog:
    """The log without rows that the days are prepared like; made now unless it was before."""
    folder, bundle = job.out / BASE, parent.bundle
    if (folder / "manifest.json").is_file():
        base = EncodedLog.open(folder)
        if base.fingerprint == fingerprint:
            return base
    raw.logical_types(schema.columns())
    counted = CountedLog(raw, schema.roles.sample_weight)
    if not counted.rows:
        raise DataError(f"{job.data}: holds no rows; give the added days")
    schema = replace(schema, split=split_of_days(schema, counted))
    job.on_progress("prepare: vocabularies", 0, 1, None)
    growth = grown(bundle.encoder, schema, counted, retire_after=retire_after or None)
    changes = {name: asdict(change) for name, change in growth.vocabularies.items()}
    return write_base(
        folder,
        growth.encoder,
        fingerprint=fingerprint,
        statistics=_label_statistics(bundle.model.heads.specs),
        unknown=_shares(bundle.unknown, growth.encoder),
        growth={"span": growth.span, "split": schema.split.by, "vocabularies": changes},
    )


def _label_statistics(heads: Sequence[HeadSpec]) -> dict[str, LabelStatistics]:
    """What the heads know of the labels; of classes of numbers the numbers."""
    return {
        head.name: LabelStatistics(0, 0, head.mean, head.std, _classes(head.classes))
        for head in heads
    }


def _classes(names: tuple[str, ...]) -> tuple[int | str, ...]:
    """A head keeps classes as text, a log as they are; they are whole numbers or text."""
    try:
        numbers = tuple(int(name) for name in names)
    except ValueError:
        return names
    return numbers if tuple(map(str, numbers)) == names else names


def _shares(unknown: Mapping[str, float] | None, encoder: RowEncoder) -> dict[str, float]:
    """Unknown shares by feature; 1 where nobody has counted, with which nothing can be compared."""
    names = UnknownCounter(encoder).names
    return {name: 1.0 if unknown is None else unknown.get(name, 1.0) for name in names}
