"""What stands between a task's lane and its output: linear layers, or convolutions to a map."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid.convolution import Pixels

__all__ = ["Aspp", "Linear", "Small"]

DILATIONS = (6, 12, 18, 24)


class Linear(nn.Module):
    """A lane `[B, C, H, W]` to `[B, classes]`, with ReLU inside if hidden.

    Its pixels are averaged, or all read in their places (`area` of them): averages forget where
    something is, and where that tells the tasks apart they must not.
    """

    def __init__(
        self, width: int, classes: int, *, hidden: int, dropout: float, area: int = 1
    ) -> None:
        super().__init__()
        self.area = area
        width *= area
        self.hidden = nn.Linear(width, hidden) if hidden else None
        self.dropout = dropout
        self.last = nn.Linear(hidden or width, classes)

    def forward(self, lane: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        features = lane.flatten(1) if self.area > 1 else lane.mean((-2, -1))
        if self.hidden is not None:
            features = functional.relu(self.hidden(features))
        features = functional.dropout(features, self.dropout, self.training)
        logits: Tensor = self.last(features)
        return logits

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        linears = [part for part in (self.hidden, self.last) if part is not None]
        return sum(part.weight.numel() for part in linears)


class Small(nn.Module):
    """A lane to a map `[B, classes, H, W]`: 3x3 convolution, ReLU, 1x1 convolution."""

    def __init__(self, width: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, classes, 1)
        self.dropout = dropout

    def forward(self, lane: Tensor) -> Tensor:
        """The map, as large as the lane."""
        features = functional.relu(self.first(lane))
        found: Tensor = self.last(functional.dropout(features, self.dropout, self.training))
        return found

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        return pixels[0] * pixels[1] * (self.first.weight.numel() + self.last.weight.numel())


class Aspp(nn.Module):
    """A lane to a map `[B, classes, H, W]`: the sum of four branches of dilation 6, 12, 18, 24.

    AdaShare's (Sun et al., NeurIPS 2020, its code): 3x3 convolution, ReLU, dropout, 1x1
    convolution, ReLU, dropout, 1x1 convolution.
    """

    def __init__(self, width: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, hidden, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, hidden, 1),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, classes, 1),
            )
            for dilation in DILATIONS
        )

    def forward(self, lane: Tensor) -> Tensor:
        """The map, as large as the lane."""
        first, *rest = (cast(Tensor, branch(lane)) for branch in self.branches)
        return sum(rest, start=first)

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        convolutions = (part for part in self.modules() if isinstance(part, nn.Conv2d))
        return pixels[0] * pixels[1] * sum(part.weight.numel() for part in convolutions)
