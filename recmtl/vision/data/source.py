"""How lists of files become a data set; only the lists stay in memory.

A reader describes its layout once, as a `FileLayout`: how an entry of a list becomes an example,
and which files the entry needs. The layout builds the splits, holds out validation images where the
owner publishes none, and computes the fingerprint, which finds missing files before training.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError
from recmtl.vision.data.augment import Augment
from recmtl.vision.data.decode import Decoder, missing_file, with_checked_maps
from recmtl.vision.data.examples import Example, ImageSet, ImageTask

__all__ = [
    "ExampleReader",
    "FileLayout",
    "FileSplit",
    "MapExampleReader",
    "fingerprint",
    "hold_out",
    "select_tasks",
]

Entries = Sequence[Any]


class ExampleReader(Protocol):
    """Turns an entry into an example; picklable, so that worker processes can call it."""

    @property
    def folder(self) -> Path:
        """The folder to which file names are relative."""

    @property
    def tasks(self) -> tuple[ImageTask, ...]:
        """The tasks of the examples."""

    def __call__(self, entry: Any, /) -> Example:
        """The example of one entry."""


@dataclass(frozen=True)
class MapExampleReader:
    """Reads an example from files: an entry names the image's file, then one file for each task.

    Attributes:
        folder: the folder to which the names are relative.
        tasks: in the order of the files.
        image: decodes the image.
        targets: the decoder of each task's map.
    """

    folder: Path
    tasks: tuple[ImageTask, ...]
    image: Decoder
    targets: tuple[Decoder, ...]

    def __call__(self, entry: tuple[str, ...]) -> Example:
        """The example of one entry.

        Raises:
            DataError: a file is missing or damaged, or holds what the layout forbids.
        """
        paths = [self.folder / name for name in entry]
        maps = (decode(path) for decode, path in zip(self.targets, paths[1:], strict=True))
        return with_checked_maps(Example(self.image(paths[0]), tuple(maps)), self.tasks, paths[0])


@dataclass(frozen=True)
class FileSplit:
    """An `ImageSplit` of files.

    Attributes:
        entries: what `read` needs for each example, in the order of the split.
        read: turns an entry into an example.
        tasks: of the examples.
        augment: steps that are applied in this order if a random generator is passed.
    """

    entries: Entries
    read: ExampleReader
    tasks: tuple[ImageTask, ...]
    augment: tuple[Augment, ...] = ()

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.entries)

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        """The example at `index`; see `ImageSplit`."""
        example = self.read(self.entries[index])
        if random is not None:
            for step in self.augment:
                example = step(example, self.tasks, random)
        targets = (np.ascontiguousarray(t) if t.ndim else t for t in example.targets)
        return Example(np.ascontiguousarray(example.image), tuple(targets))


@dataclass(frozen=True)
class FileLayout:
    """What a reader knows about the layout of its files.

    Attributes:
        name: of the data set.
        read: turns an entry into an example.
        files: the names of the files that an entry needs.
        steps: augmentation of the train split.
        mean: of each channel.
        std: standard deviation of each channel.
        facts: what else tells this set from another in the fingerprint; must be JSON.
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
        """The data set if the owner publishes no validation split: it is held out from `train`.

        Args:
            train: the published train entries, which are divided.
            test: the published test entries.
            validation: share of `train` to hold out.
            seed: of the choice.
            group: the group of an entry; groups are held out whole. Ignored if all entries belong
                to one group.

        Raises:
            ConfigError: the share `validation` cannot be held out.
            DataError: a file is missing.
        """
        groups = [group(entry) for entry in train] if group else []
        several = len(set(groups)) > 1
        kept, held = hold_out(len(train), validation, seed, groups=groups if several else None)
        return self.image_set([train[i] for i in kept], [train[i] for i in held], test)

    def image_set(self, train: Entries, validation: Entries, test: Entries) -> ImageSet:
        """The data set with these entries.

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
        augmented = FileSplit(train, self.read, tasks, self.steps)
        height, width = augmented.example(0, np.random.default_rng(0)).image.shape[1:]
        return ImageSet(
            name=self.name,
            tasks=tasks,
            train=augmented,
            validation=FileSplit(validation, self.read, tasks),
            test=FileSplit(test, self.read, tasks),
            mean=self.mean,
            std=self.std,
            size=(height, width),
            fingerprint=mark,
        )


def select_tasks(
    available: Mapping[str, ImageTask], names: tuple[str, ...]
) -> tuple[ImageTask, ...]:
    """The tasks with these names, in the order of the names.

    Raises:
        ConfigError: there is no name, a name is unknown, or a name occurs twice.
    """
    unknown = [name for name in names if name not in available]
    if unknown or not names or len(set(names)) != len(names):
        raise ConfigError(f"tasks: {list(names)} must be some of {list(available)}, each once")
    return tuple(available[name] for name in names)


def hold_out(
    count: int, share: float, seed: int, *, groups: Sequence[Hashable] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `count` examples are kept and which are held out; depends on the arguments alone.

    Args:
        count: number of examples.
        share: share of the examples to hold out, above 0 and below 1. At least one example is held
            out, and at least one is kept.
        seed: another seed holds out other examples.
        groups: the group of each example, such as a building or a person; a group is held out
            whole or not at all.

    Returns:
        Indices in rising order: kept, held out.

    Raises:
        ConfigError: the share is not between 0 and 1, or there are fewer than two examples or
            groups.

    >>> kept, held = hold_out(6, 0.5, seed=0, groups="aabbcc")
    >>> sorted([*kept, *held]) == list(range(6)), len(held) % 2
    (True, 0)
    """
    codes = np.arange(count)
    if groups is not None:
        numbers = {group: k for k, group in enumerate(dict.fromkeys(groups))}
        codes = np.array([numbers[group] for group in groups], np.int64)
    num_groups = int(codes.max(initial=-1)) + 1
    if not 0 < share < 1 or num_groups < 2:
        message = f"validation: {share} of {num_groups} images or groups cannot be held out"
        raise ConfigError(f"{message}; give a share above 0 and below 1, and more images")
    order = np.random.default_rng(seed).permutation(num_groups)
    sizes = np.bincount(codes, minlength=num_groups)[order]
    # As many groups as come nearest to the share, but at least one on either side.
    reached = np.cumsum(sizes)
    taken = 1 + int(np.argmin(np.abs(reached[:-1] - round(share * count))))
    held = np.isin(codes, order[:taken])
    return np.flatnonzero(~held), np.flatnonzero(held)


def fingerprint(
    folder: Path, parts: Iterable[Iterable[str]], *, facts: Mapping[str, object]
) -> str:
    """A hash of the files of each part and of `facts`; every file must exist.

    The hash covers the names and sizes of the files, not their bytes: archives have many gigabytes.
    A file whose content decides about labels or splits (an index, a table) goes into `facts` as a
    hash of its own.

    Args:
        folder: the folder to which the names are relative; not part of the hash.
        parts: the files of each part, in order.
        facts: whatever else tells this set from another; must be JSON.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for part in parts:
        digest.update(b"\0part")
        for name in part:
            digest.update(f"\0{name}\0{_size(folder / name)}".encode())
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as fault:
        raise missing_file(path) from fault
