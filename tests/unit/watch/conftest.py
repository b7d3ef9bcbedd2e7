"""A bundle of the shop, made once a session."""

from pathlib import Path

import pytest

from recmtl.serve import load_bundle
from recmtl.serve.bundle import Bundle
from tests.watched_shop import shop_bundle


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle; tests that alter it copy it first."""
    return shop_bundle(tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="session")
def bundle(folder: Path) -> Bundle:
    """The bundle."""
    return load_bundle(folder)
