"""Notebooks of `examples/`: run in a folder of their own, by tests and by `make notebooks`.

    python docs/recmtl_docs/notebooks.py examples/*.ipynb

runs them and keeps what they show, but for what goes to the standard error (progress, warnings) and
for links to the files of the run, which a reader of the page does not have.
"""

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

__all__ = ["main", "run_notebook"]

SECONDS_A_CELL = 1800
LINK_TO_FILE = re.compile(r'<a href="(?![a-z]+:|#)[^"]*">(.*?)</a>', re.DOTALL)


def run_notebook(
    path: Path, folder: Path, *, parameters: str | None = None
) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in a folder.

    Args:
        path: the notebook.
        folder: where it runs, and where its files and its MLflow store lie afterwards.
        parameters: Python that takes the place of the cell with the tag `parameters`.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters is not None:
        (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
        cell.source = parameters
    store = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    # frozen modules: the debugger of the kernel warns of them in every run
    surroundings = {"MLFLOW_TRACKING_URI": store, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    before = {name: os.environ.get(name) for name in surroundings}
    os.environ.update(surroundings)
    try:
        return client.execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run notebooks and write what they showed into them; returns 0."""
    for name in sys.argv[1:] if arguments is None else arguments:
        with tempfile.TemporaryDirectory() as folder:
            notebook = run_notebook(Path(name), Path(folder))
        nbformat.write(_shown(notebook), name)
    return 0


def _shown(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with what a reader should see, and nothing that differs from run to run."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                data = output.get("data", {})
                if "text/plain" in data:
                    data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
                if "text/html" in data:
                    data["text/html"] = LINK_TO_FILE.sub(r"\1", data["text/html"])
    return notebook


if __name__ == "__main__":
    sys.exit(main())
