"""A split as a list of entries and a way to read one: nothing is in memory but the list.

What the readers of file layouts have in common: three lists of entries become an `ImageSet`.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError
from recmtl.vision.data.augment import Augment
from recmtl.vision.data.decode import fingerprint
from recmtl.vision.data.examples import Example, ImageSet, ImageTask

__all__ = ["ExampleReader", "FileLayout", "FileSplit", "hold_out"]


@dataclass(frozen=True)
class FileSplit:
    """An `ImageSplit` of files.

    Attributes:
        entries: whatever `read` needs to find one example, in the order of the split.
        read: entry -> example; a module-level function or a dataclass, so that workers get it.
        tasks: of the examples.
        augment: steps taken in this order where a random generator is given.
    """

    entries: Sequence[Any]
    read: Callable[[Any], Example]
    tasks: tuple[ImageTask, ...]
    augment: tuple[Augment, ...] = ()

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.entries)

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        """The example of that index; see `ImageSplit`."""
        found = self.read(self.entries[index])
        if random is not None:
            for step in self.augment:
                found = step(found, self.tasks, random)
        targets = (np.ascontiguousarray(t) if t.ndim else t for t in found.targets)
        return Example(np.ascontiguousarray(found.image), tuple(targets))


def hold_out(
    count: int, share: float, seed: int, *, groups: Sequence[Hashable] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `count` examples stay, and which are held out: a function of the arguments only.

    Args:
        count: number of examples.
        share: of them to hold out, above 0 and below 1; at least one of them, never all.
        seed: another seed holds out others.
        groups: of each example; a group (a building, a person) is held out whole or not at all.

    Returns:
        Indices in rising order: kept, held out.

    Raises:
        ConfigError: there is no such share, or too few examples or groups to part them.
    """
    codes = np.arange(count)
    if groups is not None:
        numbers = {group: k for k, group in enumerate(dict.fromkeys(groups))}
        codes = np.array([numbers[group] for group in groups], np.int64)
    several = int(codes.max(initial=-1)) + 1
    if not 0 < share < 1 or several < 2:
        message = f"validation: {share} of {several} images or groups cannot be held out"
        raise ConfigError(f"{message}; give a share above 0 and below 1, and more images")
    order = np.random.default_rng(seed).permutation(several)
    sizes = np.bincount(codes, minlength=several)[order]
    # As many groups as come nearest to the share, but one at least on either side.
    reached = np.cumsum(sizes)
    taken = 1 + int(np.argmin(np.abs(reached[:-1] - round(share * count))))
    held = np.isin(codes, order[:taken])
    return np.flatnonzero(~held), np.flatnonzero(held)


Entries = Sequence[Any]


class ExampleReader(Protocol):
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
class FileLayout:
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
    read: ExampleReader
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
        trained = FileSplit(train, self.read, tasks, self.steps)
        height, width = trained.example(0, np.random.default_rng(0)).image.shape[1:]
        return ImageSet(
            name=self.name,
            tasks=tasks,
            train=trained,
            validation=FileSplit(validation, self.read, tasks),
            test=FileSplit(test, self.read, tasks),
            mean=self.mean,
            std=self.std,
            size=(height, width),
            fingerprint=mark,
        )
