"""A thousand altered bundles: each is refused with one line, and nothing in one is ever run."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recmtl.errors import BundleError
from recmtl.serve import load_bundle, save_bundle
from tests.chaos.alterations import Target, alter, alter_and_reseal, lie_and_reseal
from tests.unit.serve.shop import USER, make_bundle, make_encoder, make_log, make_model

ALTERATIONS = 1000
RESEALED = 1000
LIES = 400
DANGEROUS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class")

pytestmark = pytest.mark.chaos


class Watch:
    """Notes what Python does that loading a bundle must not do."""

    def __init__(self, forbidden: Path) -> None:
        self.forbidden = str(forbidden)
        self.seen: list[str] = []
        self.active = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.active:
            return
        outside = event == "open" and str(arguments[0]) in (self.forbidden, "/dev/zero")
        if outside or event.startswith(DANGEROUS):
            self.seen.append(f"{event} {arguments[0]}")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Target:
    folder = tmp_path_factory.mktemp("altered")
    make_bundle(folder / "intact", user=USER)
    log = make_log(300, seed=8)
    encoder = make_encoder(log)
    model = make_model(encoder, seed=5)
    save_bundle(folder / "other", model=model, encoder=encoder, rows=log, metrics={"a": 1})
    (folder / "secret").write_text("secret")
    return Target(folder / "copy", folder / "other", folder / "secret", folder / "executed")


@pytest.fixture(scope="module")
def watch(places: Target) -> Iterator[Watch]:
    watch = Watch(places.outside)
    yield watch
    watch.active = False


def load_copy(places: Target, watch: Watch) -> str:
    """The one line with which the altered copy is refused, or nothing if it loads."""
    watch.active = True
    try:
        load_bundle(places.folder)
    except BundleError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        str(error).encode()  # a terminal can show it
        return str(error)
    finally:
        watch.active = False
        assert watch.seen == []
        assert not places.executed.exists()
    return ""


def fresh_copy(places: Target) -> None:
    for leftover in (places.folder, places.outside.parent / "moved"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
    shutil.copytree(places.other.parent / "intact", places.folder)


@pytest.mark.parametrize("hundred", range(ALTERATIONS // 100))
def test_altered_bundles_are_refused(places: Target, watch: Watch, hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        fresh_copy(places)
        done = alter(places, seed)
        assert load_copy(places, watch), done


def test_resealed_bundles_are_refused_or_score_their_golden_rows(
    places: Target, watch: Watch
) -> None:
    loaded = []
    for seed in range(RESEALED):
        fresh_copy(places)
        done = alter_and_reseal(places, seed)
        if not load_copy(places, watch):
            loaded.append(done)
    # What may change unseen is what no score depends on: the metrics, the card, unused bytes.
    assert len(loaded) < RESEALED / 3, json.dumps(loaded)


def test_what_a_stranger_states_is_refused_though_the_seal_fits(
    places: Target, watch: Watch
) -> None:
    for seed in range(LIES):
        fresh_copy(places)
        done = lie_and_reseal(places, seed)
        assert load_copy(places, watch), done


def test_the_intact_bundle_loads(places: Target, watch: Watch) -> None:
    fresh_copy(places)
    assert load_copy(places, watch) == ""


def test_the_watch_sees(watch: Watch, places: Target) -> None:
    watch.active = True
    places.outside.read_text()
    watch.active = False
    assert len(watch.seen) == 1
    watch.seen.clear()
