"""A bundle behind MLflow's scoring server, in this process."""

import asyncio
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.scoring_server import init

from recmtl.mlflow_store import without_warnings
from recmtl.serve.bundle.bundle import Bundle
from recmtl.serve.mlflow_signature import input_example, input_types, signature

MODEL = Path(__file__).parents[3] / "recmtl" / "serve" / "mlflow_model.py"


def save_model(bundle: Bundle, folder: Path) -> Path:
    """A bundle as a model of MLflow's."""
    with without_warnings():
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(MODEL),
            artifacts={"bundle": str(bundle.folder)},
            signature=signature(bundle),
            input_example=input_example(bundle),
            metadata={"recmtl.input_types": input_types(bundle)},
            pip_requirements=[],
        )
    return folder


class Server:
    """MLflow's scoring server of a model, without a socket."""

    def __init__(self, model: Any) -> None:
        with without_warnings():
            self._application = init(model)

    def post(self, body: Any, kind: str = "application/json") -> tuple[int, Any]:
        """Send a body, as JSON unless it is bytes; returns status and answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = asyncio.run(_request(self._application, raw, kind))
        return status, json.loads(answer)


async def _request(app: Any, body: bytes, kind: str) -> tuple[int, bytes]:
    """One POST to an ASGI application."""
    sent, asked = [], iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(asked, None)
        return message if message is not None else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/invocations", "raw_path": b"/invocations", "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(b"content-type", kind.encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
