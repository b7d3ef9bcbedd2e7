"""recmtl finds out what several recommendation tasks should share.

    import recmtl

    run = recmtl.fit("log.csv", tasks=["click", "purchase"], time="time", out="runs/mine")
    run.verdict()
    run.scorer().score(frame)
    recmtl.open("runs/mine").report

`fit` is the whole job; `describe`, `prepare`, `search`, `train` and `evaluate` are its steps, and
`tune` finds its settings. `Run` is what they leave; `Scorer` and `Ranker` serve its bundle;
`Schema` and `Config` are what they are told. All of them load on first use, so that importing the
package costs nothing.

Importing the package also tells the threads of torch and LightGBM how to wait for each other:
awake for some microseconds, then asleep. An environment that sets `OMP_WAIT_POLICY` or
`GOMP_SPINCOUNT` is left as it is.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recmtl.data.encoded_log import EncodedLog
    from recmtl.run.run import Run
    from recmtl.run.run import open_run as open
    from recmtl.run.steps import describe, evaluate, fit, prepare, search, train
    from recmtl.run.tune import tune
    from recmtl.schema import Schema
    from recmtl.serve import Ranker, Scorer
    from recmtl.train.config import Config

    __version__: str

__all__ = [
    "Config",
    "EncodedLog",
    "Ranker",
    "Run",
    "Schema",
    "Scorer",
    "__version__",
    "describe",
    "evaluate",
    "fit",
    "open",
    "prepare",
    "search",
    "train",
    "tune",
]

PLACES = {
    **dict.fromkeys(("describe", "fit", "prepare"), "recmtl.run.steps"),
    "Config": "recmtl.train.config",
    "EncodedLog": "recmtl.data.encoded_log",
    "Ranker": "recmtl.serve",
    "Run": "recmtl.run.run",
    "Schema": "recmtl.schema",
    "Scorer": "recmtl.serve",
    "tune": "recmtl.run.tune",
}
"""Name -> the module that holds it."""
ROOMS = ("evaluate", "search", "train")
"""Steps that share their names with a room of the package."""
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000"}
"""How threads wait for each other. Threads that never sleep make a busy machine several times
slower; threads that sleep at once make two of them as slow as one on an idle machine."""

if not WAITING.keys() & os.environ:
    os.environ.update(WAITING)


class _Room(ModuleType):
    """A room of the package whose name is also that of a step: to call it is to take the step."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self._step(*arguments, **settings)

    @property
    def __signature__(self) -> Any:
        import inspect  # here, since it is slow to load

        return inspect.signature(self._step)

    @property
    def _step(self) -> Any:
        # Here, since it loads torch.
        return getattr(import_module("recmtl.run.steps"), self.__name__.rpartition(".")[2])


class _Package(ModuleType):
    """This package. Python sets the rooms of a package as its attributes when they are loaded."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ROOMS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Load a public name when it is first wanted."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    if name in ROOMS:
        return import_module(f"recmtl.{name}")
    if name == "open":
        return import_module("recmtl.run.run").open_run
    if name == "__version__":
        return import_module("importlib.metadata").version("recmtl")
    raise AttributeError(f"module 'recmtl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*__all__, *globals()})
