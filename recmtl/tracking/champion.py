"""The champion: the version of a registered model that serving should load.

The alias `champion` moves to a new version only if a judge says that the version beats the present
one. Who judges is the caller's affair (`recmtl.job.champion`); here the alias is moved, and why it
was or was not is kept in tags of the version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from recmtl.errors import RecmtlError, first_line
from recmtl.mlflow_store import valid_key
from recmtl.serve.bundle.manifest import local_folder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["CHAMPION", "ChampionDecision", "Judge", "RegisteredModel", "crown"]

CHAMPION = "champion"
ALWAYS, NEVER = "always", "never"
MAX_REASON = 400


@dataclass(frozen=True)
class ChampionDecision:
    """Whether a version becomes champion, and why.

    Attributes:
        promote: whether it does.
        reason: in one line.
        figures: by name: gains over the present champion and the constant, and costs.
    """

    promote: bool
    reason: str
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        version: its number.
        model_uri: loads the model without the registry.
        decision: whether it became champion; None if nothing has judged it.
    """

    name: str
    version: str
    model_uri: str
    decision: ChampionDecision | None = None

    @property
    def uri(self) -> str:
        """What loads it from the registry.

        >>> RegisteredModel("shop", "3", "").uri
        'models:/shop/3'
        """
        return f"models:/{self.name}/{self.version}"


Judge: TypeAlias = Callable[[Path | None, Callable[[float], None]], ChampionDecision]
"""(the present champion's bundle, or None if there is none; called while it works) -> decision."""


def crown(
    client: "MlflowClient",
    model: RegisteredModel,
    wish: str,
    *,
    judge: Judge,
    alive: Callable[[float], None],
) -> ChampionDecision:
    """Move the alias `champion` to a version if it beats the present one, and tag the version.

    A version that was judged before keeps its decision, so that logging twice changes nothing.

    Args:
        client: of the registry.
        model: the new version.
        wish: `always` or `never`, whatever the judge says; empty to follow the judge.
        judge: compares it with the present champion.
        alive: handed to the judge.
    """
    tags = client.get_model_version(model.name, model.version).tags
    if CHAMPION in tags:
        return ChampionDecision(tags[CHAMPION].startswith("promoted"), tags[CHAMPION])
    while True:
        present = _present(client, model.name)
        decision = _wished(_judged(model.name, present[0], judge, alive), wish)
        # Another job may have moved the alias while this one was comparing.
        if _present(client, model.name) == present:
            break
    if decision.promote:
        client.set_registered_model_alias(model.name, CHAMPION, model.version)
    parent = {"parent": f"models:/{model.name}/{present[0]}", "parent.bundle": present[1]}
    figures = {f"{CHAMPION}.{name}": text for name, text in decision.figures.items()}
    # The decision comes last: without it, an interrupted call is made once more.
    for name, text in {**(parent if present[0] else {}), **figures}.items():
        client.set_model_version_tag(model.name, model.version, valid_key(name), text)
    client.set_model_version_tag(model.name, model.version, CHAMPION, decision.reason)
    return decision


def _present(client: "MlflowClient", name: str) -> tuple[str, str]:
    """Version and bundle fingerprint of the present champion; empty if there is none."""
    version = client.get_registered_model(name).aliases.get(CHAMPION, "")
    if not version:
        return "", ""
    return str(version), client.get_model_version(name, str(version)).tags.get("bundle", "")


def _judged(
    name: str, version: str, judge: Judge, alive: Callable[[float], None]
) -> ChampionDecision:
    """The judge's decision; a champion that cannot be compared stays, and the reason is said."""
    try:
        folder = local_folder(f"models:/{name}/{version}") if version else None
        return judge(folder, alive)
    except (RecmtlError, OSError, MemoryError) as fault:
        reason = first_line(fault)
        who = f"champion {version} stays" if version else "no champion"
        return ChampionDecision(False, f"{who}: cannot be compared ({reason})"[:MAX_REASON])


def _wished(decision: ChampionDecision, wish: str) -> ChampionDecision:
    if wish == ALWAYS:
        return replace(decision, promote=True, reason=f"promoted as asked; {decision.reason}")
    if wish == NEVER:
        return replace(decision, promote=False, reason=f"left as asked; {decision.reason}")
    return decision
