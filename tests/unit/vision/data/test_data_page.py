"""The page on image data names every reader, and its examples are configurations that are valid."""

import re
from pathlib import Path

import pytest
import yaml

from recmtl.errors import DataError
from recmtl.vision.data import READERS, open_images

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "guides" / "vision_data.md").read_text()
EXAMPLES = [yaml.safe_load(text)["data"] for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]


def test_every_reader_is_described() -> None:
    assert [name for name in READERS if f"`{name}`" not in PAGE] == []
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("data", EXAMPLES, ids=lambda data: data["reader"])
def test_examples_have_valid_options(data: dict[str, object], tmp_path: Path) -> None:
    # The options are accepted; then the empty folder is what is wrong.
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        open_images(str(data["reader"]), tmp_path, data["options"])  # type: ignore[arg-type]
