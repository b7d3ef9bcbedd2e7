"""A ranking service: one user and many candidates a request, and the reasons of a score.

    python examples/first_run.py runs/first
    python examples/ranking_service.py runs/first                 # asks itself once, and stops
    python examples/ranking_service.py runs/first --port 8000     # serves until interrupted

Loads the bundle once and answers over HTTP, with the standard library alone. `POST /rank` takes
`{"user": {...}, "candidates": {column: [...]}, "k": 10}`, `POST /explain` takes
`{"row": {...}, "task": "click"}`. Without `--port` it sends itself one request of each kind over
loopback. Starts in a few seconds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl import Ranker
from recmtl.errors import RecmtlError

Json = dict[str, Any]
FORMULA = "p_click_and_purchase"
SHOWN = ["item_id", "p_click", "p_purchase_given_click", "rank_score", "rank"]
OF_USER = ["user_id", "segment", "age_band", "city", "device", "membership", "history"]
OF_USER += ["spend_30d", "tenure_days", "hour", "session_depth", "minutes_since_visit"]


class RankingService:
    """Answers requests, as dicts that JSON can hold, with one ranker for all of them."""

    def __init__(self, ranker: Ranker) -> None:
        self.ranker = ranker

    def rank(self, request: Json) -> Json:
        """The best `k` candidates of one user, best first."""
        best = self.ranker.rank_request(
            request["user"],
            pa.table(request["candidates"]),
            by=FORMULA,
            k=request.get("k", 10),
            keep=["item_id"],
        )
        return {"ranking": best.select(SHOWN).to_pylist()}

    def explain(self, request: Json) -> Json:
        """What each feature of one row added to the score of one task."""
        row = pa.Table.from_pylist([request["row"]])
        return {"reasons": self.ranker.explain(row, request["task"]).text(row=0)}


def server(service: RankingService, *, port: int) -> ThreadingHTTPServer:
    """An HTTP server on loopback that hands requests to the service; port 0 takes a free one."""
    actions = {"/rank": service.rank, "/explain": service.explain}

    class Handler(BaseHTTPRequestHandler):
        """One request: JSON in, JSON out."""

        def do_POST(self) -> None:
            """Answer with the action of the path, or with one line that says what is wrong."""
            action = actions.get(self.path)
            if action is None:
                self.answer(404, {"error": f"no {self.path}; there are {', '.join(actions)}"})
                return
            try:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(200, action(json.loads(body)))
            except KeyError as error:
                self.answer(400, {"error": f"the request lacks {error}"})
            except (RecmtlError, ValueError) as error:
                self.answer(400, {"error": str(error)})

        def answer(self, status: int, content: Json) -> None:
            """Send a status and a JSON body."""
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing; a service would count requests here."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def post(port: int, path: str, content: Json) -> tuple[int, Json]:
    """Send one request; returns the status and the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(content))
    response = connection.getresponse()
    answer: Json = json.loads(response.read())
    connection.close()
    return response.status, answer


def sample_requests(log: Path, ranker: Ranker) -> tuple[Json, Json]:
    """The user of the log's first row with the candidates of 100 rows, and a row to explain."""
    rows = pq.read_table(log, columns=list(ranker.scorer.input_columns)).slice(0, 100)
    user = {name: rows[name][0].as_py() for name in OF_USER}
    candidates = rows.drop_columns(OF_USER).to_pydict()
    row = {**user, **{name: values[0] for name, values in candidates.items()}}
    return {"user": user, "candidates": candidates, "k": 5}, {"row": row, "task": "click"}


def ask_once(http: ThreadingHTTPServer, requests: tuple[Json, Json]) -> None:
    """Serve on a thread for as long as it takes to send both requests; print the answers."""
    Thread(target=http.serve_forever, daemon=True).start()
    for_ranking, for_reasons = requests
    for line in post(http.server_port, "/rank", for_ranking)[1]["ranking"]:
        print(line)
    print(post(http.server_port, "/explain", for_reasons)[1]["reasons"])
    http.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the bundle of a finished run; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Serve rankings over HTTP.")
    parser.add_argument("out", type=Path, help="output folder of examples/first_run.py")
    parser.add_argument("--port", type=int, help="port to serve on; asks itself once without it")
    options = parser.parse_args(arguments)
    try:
        ranker = Ranker.load(options.out / "bundle")
    except RecmtlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with (
        server(RankingService(ranker), port=options.port or 0) as http,
        suppress(KeyboardInterrupt),
    ):
        if options.port is None:
            ask_once(http, sample_requests(options.out / "shop.parquet", ranker))
        else:
            print(f"serving on http://127.0.0.1:{options.port}; stop with Ctrl-C")
            http.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
