"""What the readers of file layouts have in common: three lists of entries become an `ImageSet`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recmtl.data.images.augment import Augment
from recmtl.data.images.examples import Example, ImageSet, ImageTask
from recmtl.data.images.files import fingerprint
from recmtl.data.images.split import ListedSplit, hold_out

__all__ = ["Reading", "Source"]

Entries = Sequence[Any]


class Reading(Protocol):
    """Entry -> example, picklable."""

    @property
    def folder(self) -> Path:
        """What file names are relative to."""

    @property
    def tasks(self) -> tuple[ImageTask, ...]:
        """Of the examples."""

    def __call__(self, entry: Any, /) -> Example:
        """The example of one entry."""


@dataclass(frozen=True)
class Source:
    """A layout, opened.

    Attributes:
        name: of the set.
        read: entry -> example.
        files: the names of the files of an entry.
        steps: augmentation of the train split.
        mean: of each channel.
        std: of each channel.
        facts: what else the fingerprint must tell apart; must be JSON.
    """

    name: str
    read: Reading
    files: Callable[[Any], Iterable[str]]
    steps: tuple[Augment, ...] = ()
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    facts: Mapping[str, object] = field(default_factory=dict)

    def held_out(
        self,
        train: Entries,
        test: Entries,
        *,
        validation: float,
        seed: int,
        group: Callable[[Any], str] | None = None,
    ) -> ImageSet:
        """The set of a layout without a validation split, which is held out from `train`.

        Args:
            train: published entries, to be divided.
            test: published entries.
            validation: share of `train` to hold out.
            seed: of that choice.
            group: entry -> what is held out whole; ignored where all entries have the same.

        Raises:
            ConfigError: `validation` is no share that can be held out.
            DataError: a file is missing.
        """
        groups = [group(entry) for entry in train] if group else []
        several = len(set(groups)) > 1
        kept, held = hold_out(len(train), validation, seed, groups=groups if several else None)
        return self.image_set([train[i] for i in kept], [train[i] for i in held], test)

    def image_set(self, train: Entries, validation: Entries, test: Entries) -> ImageSet:
        """The set of these entries.

        Raises:
            DataError: a file is missing, or the first example cannot be read.
        """
        tasks = self.read.tasks
        files = (
            [name for entry in part for name in self.files(entry)]
            for part in (train, validation, test)
        )
        facts = {
            "name": self.name,
            "tasks": [repr(task) for task in tasks],
            "steps": repr(self.steps),
            **self.facts,
        }
        mark = fingerprint(self.read.folder, files, facts=facts)
        trained = ListedSplit(train, self.read, tasks, self.steps)
        height, width = trained.example(0, np.random.default_rng(0)).image.shape[1:]
        return ImageSet(
            name=self.name,
            tasks=tasks,
            train=trained,
            validation=ListedSplit(validation, self.read, tasks),
            test=ListedSplit(test, self.read, tasks),
            mean=self.mean,
            std=self.std,
            size=(height, width),
            fingerprint=mark,
        )
