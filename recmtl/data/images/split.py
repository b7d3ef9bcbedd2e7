"""A split as a list of entries and a way to read one: nothing is in memory but the list."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.data.images.augment import Augment
from recmtl.data.images.examples import Example, ImageTask
from recmtl.errors import ConfigError

__all__ = ["ListedSplit", "hold_out"]


@dataclass(frozen=True)
class ListedSplit:
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
