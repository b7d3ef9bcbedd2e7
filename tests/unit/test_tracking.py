"""What goes into the store comes out of it, and the logged model scores as the bundle does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from recmtl.errors import BundleError
from recmtl.mlflow_store import make_store
from recmtl.serve import Ranker, Scorer, load_bundle, save_bundle
from recmtl.serve.bundle.manifest import local_folder
from recmtl.tracking import TrackedRun, Tracker
from recmtl.tracking.champion import ChampionDecision, RegisteredModel
from tests.unit.serve.shop import make_bundle, make_encoder, make_log, make_model

NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("shop") / "bundle")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the module: its migrations take seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def tracker(root: Path, tmp_path: Path) -> Iterator[Tracker]:
    saved = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    tracker = Tracker(tmp_path / "out", root=root, warn=pytest.fail)
    mlflow.set_tracking_uri(tracker.uri)  # for what the tests themselves ask
    yield tracker
    mlflow.set_tracking_uri(None)
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ.update(saved)


@pytest.fixture(scope="module")
def logged(bundle: Path, root: Path) -> RegisteredModel:
    tracker = Tracker(bundle.parent, root=root, warn=pytest.fail)
    with tracker.run("model") as run:
        run.log_model(bundle, name="shop")
    return tracker.models[0]


def stored(run: TrackedRun) -> mlflow.entities.Run:
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`recmtl.run` = '{run.key}'")[0]


def artifacts(run: TrackedRun) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=stored(run).info.run_id))


def test_the_embedded_store_is_a_file_with_artifacts_beside_it(
    tracker: Tracker, root: Path
) -> None:
    assert tracker.uri == f"sqlite:///{root}/mlflow.db"
    with tracker.run("a") as run:
        run.log_text("hello", "note.txt")
    assert (root / "mlflow.db").is_file()
    assert list((root / "mlartifacts").rglob("note.txt"))
    assert not Path("mlruns").exists()


def test_steps_nest_in_the_main_run_and_lie_in_its_experiment(tracker: Tracker) -> None:
    with tracker.run("main") as main, tracker.run("search") as step:
        assert step.key != main.key
    assert stored(step).data.tags["mlflow.parentRunId"] == stored(main).info.run_id
    assert stored(step).info.experiment_id == stored(main).info.experiment_id != "0"
    assert stored(main).info.status == "FINISHED"
    assert stored(step).info.run_name == "search"


def test_an_exception_marks_the_run_and_keeps_its_metrics(tracker: Tracker) -> None:
    with pytest.raises(ZeroDivisionError), tracker.run("broken") as run:
        run.log_metrics({"loss": 1.0})
        1 / 0  # noqa: B018
    assert stored(run).info.status == "FAILED"
    assert stored(run).data.metrics == {"loss": 1.0}


def test_the_run_of_mlflow_run_is_joined(
    tracker: Tracker, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(f"sqlite:///{root}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    given = MlflowClient().create_run("0")
    MlflowClient().log_param(given.info.run_id, "data", "given")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    joined = Tracker(tmp_path / "out", root=root, warn=pytest.fail)
    with joined.run("main") as main, joined.run("step") as step:
        main.log_params({"data": "ours", "seed": 1})
    with joined.run("another") as another:
        pass
    assert stored(main).info.run_id == given.info.run_id != stored(another).info.run_id
    assert stored(step).data.tags["mlflow.parentRunId"] == given.info.run_id
    assert stored(main).data.params == {"data": "given", "config.data": "ours", "seed": "1"}


def test_a_given_tracking_uri_wins(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker
) -> None:
    theirs = f"sqlite:///{root.parent}/{root.name}/../{root.name}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    assert Tracker(tmp_path / "out", root=tmp_path / "ours").uri == theirs
    assert not (tmp_path / "ours").exists()


def test_nested_config_becomes_flat_params_of_any_number(tracker: Tracker) -> None:
    config = {
        "train": {"rate": 0.1, "widths": [4, 2]},
        "name": "x",
        "none": None,
        "long": "y" * 900,
    }
    many = {f"p{number}": number for number in range(250)}
    with tracker.run("params") as run:
        run.log_params({**config, "many": many, "odd(key)": True})
        run.log_params({"name": "x"})
        run.log_params({"none": 1})
    params = stored(run).data.params
    assert (params["none"], params["config.none"]) == ("null", "1"), "no value is lost"
    assert params["train.rate"] == "0.1"
    assert params["train.widths"] == "[4, 2]"
    assert params["many.p249"] == "249"
    assert params["odd_key_"] == "true"
    assert len(params["long"]) == 500 and params["long"].endswith("…")


def test_metrics_travel_in_batches(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    send = MlflowClient.log_batch

    def log_batch(client: MlflowClient, run_id: str, metrics: list, *others: list) -> object:
        sizes.append(len(metrics))
        return send(client, run_id, metrics, *others)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with tracker.run("curves") as run:
        for step in range(700):
            run.log_metrics({"train/loss": 1.0 / (step + 1), "auc": float("nan")}, step=step)
    assert sum(sizes) == 1400 and max(sizes) <= 1000 and len(sizes) <= 4
    curve = MlflowClient().get_metric_history(stored(run).info.run_id, "train/loss")
    assert [point.step for point in curve] == list(range(700))
    assert curve[9].value == 0.1


def test_files_tags_and_environment(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text("version: 1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a")
    with tracker.run("artifacts", tags={"kind": "test"}) as run:
        run.log_json({"a": 1}, "facts.json")
        run.log_file(tmp_path / "out" / "a.txt")
        run.log_data(fingerprint="abc", schema=tmp_path / "schema.yaml")
        run.log_environment()
    folder = artifacts(run)
    assert json.loads((folder / "facts.json").read_text()) == {"a": 1}
    assert (folder / "a.txt").read_text() == "a"
    assert (folder / "data" / "schema.yaml").is_file()
    assert f"torch=={__import__('torch').__version__}" in (folder / "environment.txt").read_text()
    tags = stored(run).data.tags
    assert (tags["kind"], tags["data.fingerprint"]) == ("test", "abc")
    assert tags["python"].startswith("3.")


def test_the_champion_moves_as_the_judge_says_and_the_version_says_why(
    bundle: Path, root: Path, tracker: Tracker
) -> None:
    client, seen = MlflowClient(f"sqlite:///{root}/mlflow.db"), []
    decisions = iter(
        [
            ChampionDecision(False, "left: worse than a constant on click", {"rows": "9"}),
            ChampionDecision(True, "promoted: there was no champion"),
            ChampionDecision(False, "left: not proven better", {"over_champion.a|b": "+0.1"}),
        ]
    )

    def judge(present: Path | None, alive: object) -> ChampionDecision:
        seen.append(present)
        return next(decisions)

    tracker = Tracker(bundle.parent, root=root, judge=judge, warn=pytest.fail)
    aliases = []
    for _ in range(3):
        with tracker.run("models") as run:
            run.log_model(bundle, name="champions", tags={"data": "x"}, description="**d**")
        aliases.append(str(client.get_registered_model("champions").aliases.get("champion")))
    assert aliases == ["None", "2", "2"]
    assert seen[:2] == [None, None] and load_bundle(seen[2]).fingerprint
    first, _, third = (client.get_model_version("champions", str(n)) for n in (1, 2, 3))
    assert first.tags["champion"] == "left: worse than a constant on click"
    assert first.tags["champion.rows"] == "9" and "parent" not in first.tags
    assert third.tags["parent"] == "models:/champions/2"
    assert third.tags["parent.bundle"] == load_bundle(bundle).fingerprint
    assert third.tags["champion.over_champion.a_b"] == "+0.1"
    assert third.tags["run_id"] == third.run_id == stored(run).info.run_id
    assert third.description == client.get_registered_model("champions").description == "**d**"
    assert load_bundle("models:/champions@champion").fingerprint == load_bundle(bundle).fingerprint
    assert local_folder(f"runs:/{third.run_id}/model").name == "bundle"


def test_the_model_folder_holds_no_pickle(tracker: Tracker, logged: RegisteredModel) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(logged.uri))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".bin"}
        assert not path.read_bytes().startswith(b"\x80\x04")


def test_the_signature_names_the_columns_and_the_metadata_their_types(
    logged: RegisteredModel, bundle: Path, tracker: Tracker
) -> None:
    info = mlflow.models.get_model_info(logged.uri)
    names = list(load_bundle(bundle).encoder.input_columns)
    assert info.signature.inputs.optional_input_names() == names
    assert info.signature.outputs.input_names() == list(load_bundle(bundle).model.columns)
    assert info.metadata["recmtl.input_types"]["history"] == "list of text"


def test_uris_load_the_same_scorer_and_ranker(
    tracker: Tracker, logged: RegisteredModel, bundle: Path
) -> None:
    rows = make_log(60, seed=2)
    expected = Scorer.load(bundle).scores(rows)
    for uri in (logged.uri, logged.model_uri, bundle.as_uri()):
        np.testing.assert_array_equal(Scorer.load(uri).scores(rows), expected)
    ranked = Ranker.load(logged.uri).rank(rows.to_pandas(), by="p_click", k=3)
    assert len(ranked) == 3


def test_an_unknown_uri_is_one_line(tracker: Tracker) -> None:
    for uri in ("models:/absent@champion", "runs:/" + "0" * 32 + "/model"):
        with pytest.raises(BundleError, match="not found in the store") as raised:
            local_folder(uri)
        assert "\n" not in str(raised.value)


FRESH = """
import sys
import mlflow, numpy, pandas, pyarrow.parquet as pq
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pq.read_table(sys.argv[2]).to_pandas()
model.predict(rows).to_parquet(sys.argv[3])
model.predict(rows.drop(columns=["price", "item"]))
"""


def test_a_fresh_process_predicts_the_scorers_bits(
    tracker: Tracker, logged: RegisteredModel, bundle: Path, tmp_path: Path
) -> None:
    rows = make_log(300, seed=2).select(["age", "history", "item", "price", "user_id"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    files = [str(tmp_path / "rows.parquet"), str(tmp_path / "scores.parquet")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", FRESH, logged.uri, *files], env=environment, check=True, cwd=tmp_path
    )
    scores = pd.read_parquet(files[1])
    np.testing.assert_array_equal(scores.to_numpy(), Scorer.load(bundle).scores(rows))


@pytest.mark.slow
def test_a_fresh_process_finds_the_champion_in_the_store_of_its_folder(
    tracker: Tracker, logged: RegisteredModel, root: Path
) -> None:
    MlflowClient().set_registered_model_alias(logged.name, "champion", logged.version)
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    load = "from recmtl.serve.bundle.manifest import local_folder"
    code = f"{load}; print(local_folder('models:/{logged.name}@champion'))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, cwd=root, capture_output=True
    )
    assert (Path(run.stdout.decode().strip()) / "manifest.json").is_file()


def test_nullable_whole_numbers_may_come_as_ints_or_floats(
    tracker: Tracker, tmp_path: Path
) -> None:
    rows = make_log(300)
    holes = pa.array([None if row % 3 == 0 else row % 50 for row in range(300)], pa.int64())
    rows = rows.set_column(rows.column_names.index("age"), "age", holes)
    encoder = make_encoder(rows)
    folder = tmp_path / "out" / "b"
    folder.parent.mkdir()
    save_bundle(folder, model=make_model(encoder), encoder=encoder, rows=rows, metrics={})
    with tracker.run("nullable") as run:
        run.log_model(folder, name="nullable")
    model = mlflow.pyfunc.load_model(tracker.models[0].uri)
    for part in (rows.slice(0, 9), rows.slice(1, 2)):
        frame = part.to_pandas()
        scores = Scorer.load(folder).scores(part)
        np.testing.assert_array_equal(model.predict(frame).to_numpy(), scores)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """Serve a model on loopback; yields its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "-p", str(port)]
    command += ["-h", "127.0.0.1", "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(240):
            if server.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                yield f"http://127.0.0.1:{port}/invocations"
                return
            except OSError:
                time.sleep(0.5)
        pytest.fail((folder / "server.log").read_text())
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


@pytest.mark.slow
def test_the_model_server_answers_with_the_scorers_bits(
    tracker: Tracker, logged: RegisteredModel, bundle: Path, tmp_path: Path
) -> None:
    rows = make_log(40, seed=2).select(["user_id", "item", "history", "price", "age"])
    frame = json.loads(rows.to_pandas().to_json(orient="split"))
    body = {"columns": frame["columns"], "data": frame["data"]}
    with served(logged.uri, tmp_path) as address:
        request = urllib.request.Request(
            address,
            json.dumps({"dataframe_split": body}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            predictions = json.load(answer)["predictions"]
    expected = Scorer.load(bundle)
    scores = pd.DataFrame(predictions)[list(expected.columns)].to_numpy(np.float32)
    np.testing.assert_array_equal(scores, expected.scores(rows))
