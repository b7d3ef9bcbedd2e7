"""Experts as an export runs them, one after another, are those that run together."""

from collections.abc import Sequence

import pytest
import torch

from recmtl.grid.experts import StackedExperts

APPLICATIONS = {
    "one lane": [(0, 0), (1, 0), (2, 0)],
    "lanes of their own": [(0, 0), (1, 1), (2, 2)],
    "an expert on two lanes": [(0, 0), (1, 1), (0, 2)],
    "out of order": [(2, 0), (0, 0), (1, 0)],
}
WIDTHS = {"mlp": (4, 3, 2), "residual": (4, 3, 4), "linear": (4, 2), "cross": (4, 2, 4, 3)}


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("applications", APPLICATIONS.values(), ids=APPLICATIONS)
def test_experts_one_by_one_are_those_together(
    kind: str, applications: Sequence[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    experts = StackedExperts(WIDTHS[kind], applications, kind=kind).double()
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_()
    lanes = torch.randn(5, 3, 4, dtype=torch.float64)
    together = experts(lanes)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(experts(lanes), together)
