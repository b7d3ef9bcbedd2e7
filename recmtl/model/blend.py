"""Several networks, and perhaps the forests that they hear, as one model: a blend.

A task's logits are the weighted sum of its members' logits, with weights of its own that are not
negative and sum to 1. In a funnel the members are blended on p(event | parent), so that the joint
probability is still the product down the chain.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from recmtl.errors import BundleError, ConfigError
from recmtl.grid import Cost, Decision
from recmtl.model.network import TabularModel, load_model, save_model
from recmtl.schema.settings import settings

__all__ = ["BLEND", "MEMBERS", "Blend", "BlendedModel", "load_blend", "save_blend"]

BLEND, MEMBERS = "blend.json", "members"
"""In a bundle: the weights, and the networks after the first, `members/1` and so on."""
ROUNDING = 1e-5
"""By how much a task's weights may miss 1."""


@settings(ConfigError)
class Blend:
    """Several members in one bundle, whose logits are averaged with weights of each task.

    Attributes:
        enabled: whether the searched networks of all seeds, and the forests where `trees` are
            grown, are blended for the tasks that gain from it on validation rows.
    """

    enabled: bool = False


class BlendedModel(TabularModel):
    """Maps ids `[B, I]` and numbers `[B, N + F]` to the logits of a weighted sum of members.

    The F last numbers are the logits of forests as they are; there are none unless a forest is a
    member. Encoder, grid and heads are those of the first network, which also makes the scores.

    Args:
        networks: at least one, of the same columns and tasks, in evaluation mode.
        weights: of each member by task `[M, T]`; the forest, if it is one, is the last member.
        forest: for each task the places of its forest's logits among the F numbers, empty where
            the task has no forest; None if no forest is a member.
        fields: F.

    Attributes:
        networks: as they were given.
        is_used: which members have a weight.

    Raises:
        ValueError: the members do not fit together, a weight is negative, or weights do not sum
            to 1.
    """

    def __init__(
        self,
        networks: Sequence[TabularModel],
        weights: Tensor,
        *,
        forest: Sequence[Sequence[int]] | None = None,
        fields: int = 0,
    ) -> None:
        nn.Module.__init__(self)
        first = networks[0]
        self.encoder, self.grid, self.heads = first.encoder, first.grid, first.heads
        self.sizes, self.columns = first.sizes, first.columns
        self.networks = tuple(networks)
        self.others = nn.ModuleList(networks[1:])  # the parts of the first are registered above
        self.forest = None if forest is None else tuple(map(tuple, forest))
        self.fields = 0 if forest is None else fields
        self._of_networks = first.encoder.encoding.numeric_columns
        _require_fit(networks, weights, self.forest, fields)
        self.register_buffer("weights", weights.float(), persistent=False)
        self._weights: list[list[float]] = self.weights.tolist()
        self.is_used = [any(of_member) for of_member in self._weights]
        self.eval()

    weights: Tensor

    @property
    def numbers(self) -> int:
        """Numbers N + F that a row has."""
        return self._of_networks + self.fields

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """The blended logits `[B, size]` of each task; `decisions` are a search's, and refused."""
        if decisions is not None:
            raise ValueError("a blend has no decisions; search its networks instead")
        ids, numeric = inputs
        return self.blended(self.member_logits(ids, numeric))

    def member_logits(self, ids: Tensor, numeric: Tensor) -> list[list[Tensor]]:
        """Each member's logits `[B, size]` of each task `[M][T]`; none where it has no weight."""
        first = self._of_networks
        outputs = [
            network(ids, numeric[:, :first]) if is_used else []
            for network, is_used in zip(self.networks, self.is_used, strict=False)
        ]
        if self.forest is not None:
            outputs.append(self.forest_logits(numeric[:, first:]))
        return outputs

    def blended(self, logits: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Logits `[M][T]` of members to those of the blend `[T]`."""
        tasks = []
        for task in range(len(self.heads.specs)):
            parts = [
                weights[task] * outputs[task]
                for weights, outputs in zip(self._weights, logits, strict=True)
                if weights[task] > 0
            ]
            tasks.append(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0])
        return tasks

    @property
    def used_networks(self) -> tuple[TabularModel, ...]:
        """The networks that have a weight."""
        used = zip(self.networks, self.is_used, strict=False)  # a forest is no network
        return tuple(network for network, is_used in used if is_used)

    def cost(self) -> Cost:
        """Of all networks that have a weight; as elsewhere, that of forests is told apart."""
        return sum((network.cost() for network in self.used_networks), Cost(0, 0))

    def forest_logits(self, logits: Tensor) -> list[Tensor]:
        """The forests' logits `[B, F]` by task, on the scale of the heads' logits."""
        outputs = []
        for spec, places in zip(self.heads.specs, self.forest or (), strict=True):
            of_task = logits[:, list(places)]
            if spec.is_plain_value:
                of_task = (of_task - spec.mean) / spec.std
            outputs.append(of_task)
        return outputs


def save_blend(model: TabularModel, folder: Path) -> None:
    """Write a bundle's network: `model/`, and what a blend has beside it."""
    first = model.networks[0] if isinstance(model, BlendedModel) else model
    save_model(first, folder / "model")
    if not isinstance(model, BlendedModel):
        return
    for number, network in enumerate(model.networks[1:], 1):
        (folder / MEMBERS / str(number)).mkdir(parents=True)
        save_model(network, folder / MEMBERS / str(number))
    document = {
        "networks": len(model.networks),
        "forest": model.forest,
        "weights": {
            spec.name: weights
            for spec, weights in zip(model.heads.specs, model.weights.T.tolist(), strict=True)
        },
    }
    text = json.dumps(document, indent=1)
    (folder / BLEND).write_text(text + "\n", encoding="utf-8")


def load_blend(folder: Path, *, fields: int) -> TabularModel:
    """Read what `save_blend` wrote; `fields` is the number of logits of the bundle's forests.

    Raises:
        BundleError: it is not all there, or does not fit together.
    """
    first = load_model(folder / "model")
    if not (folder / BLEND).is_file():
        return first
    try:
        document = json.loads((folder / BLEND).read_text(encoding="utf-8"))
        numbers = range(1, int(document["networks"]))
        networks = [first, *(load_model(folder / MEMBERS / str(number)) for number in numbers)]
        weights = torch.tensor([document["weights"][spec.name] for spec in first.heads.specs])
        return BlendedModel(networks, weights.T, forest=document["forest"], fields=fields)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder / BLEND}: is no blend ({reason}); save it again") from error


def _require_fit(
    networks: Sequence[TabularModel],
    weights: Tensor,
    forest: Sequence[Sequence[int]] | None,
    fields: int,
) -> None:
    first = networks[0]
    specs, members = first.heads.specs, len(networks) + (forest is not None)
    for network in networks[1:]:
        if network.encoder.encoding != first.encoder.encoding or network.heads.specs != specs:
            raise ValueError("its networks have different columns or tasks")
    if any(network.heads.chain.child == "joint" for network in networks):
        raise ValueError("a joint chain's logits are not those of p(event | parent)")
    if weights.shape != (members, len(specs)):
        raise ValueError(f"weights of shape {tuple(weights.shape)} for {members} members")
    sums = weights.double().sum(0)
    if not bool((weights >= 0).all()) or bool(((sums - 1).abs() > ROUNDING).any()):
        raise ValueError("weights are negative, or do not sum to 1")
    if forest is None:
        return
    for spec, places, weight in zip(specs, forest, weights[-1].tolist(), strict=True):
        if len(places) not in (0, spec.size) or (weight > 0 and not places):
            raise ValueError(f"its forest has not the logits of {spec.name!r}")
        if any(not 0 <= place < fields for place in places):
            raise ValueError(f"the forest of {spec.name!r} has logits that are not there")
