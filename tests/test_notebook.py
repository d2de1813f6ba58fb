"""The notebook of pictures runs through on a results database, and shows what lies in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import NOON, make_recording, make_run

from callmood.model_files import models_folder
from callmood.results.store import Store
from callmood.types import CallResult

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "results.ipynb"

TOLD = """
import json
print(json.dumps({
    "call": call_id,
    "customer": trajectory[trajectory.speaker == "S2"].negativity_smooth.tolist(),
    "escalations": escalations[["onset_s", "peak_s"]].values.tolist(),
    "shares": {agent: {name: share for name, share in row.items() if share} for agent, row in shares.T.items()},
    "uar": accuracy[["condition", "corpus", "uar"]].values.tolist(),
}))
"""


def run(database: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from nbclient import NotebookClient

    monkeypatch.setenv("CALLMOOD_DB", str(database))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(TOLD))
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()


def outputs(notebook: Any, kind: str) -> list[Any]:
    return [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == kind
    ]


def test_the_notebook_draws_what_the_database_holds(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run(database, monkeypatch)

    pictures = [output for output in outputs(notebook, "display_data") if "image/png" in output.data]
    assert len(pictures) == 3
    told = json.loads(notebook.cells[-1].outputs[-1].text)
    # call-1 and call-3 escalate alike; the customer's turns are happy for 6 s and angry for 8 s.
    assert told["call"] == "call-1"
    assert told["customer"] == [0.0, 0.0, 0.25, 0.75]
    assert told["escalations"] == [[21.0, 27.0]]
    expected = {"happy": pytest.approx(6 / 14), "angry": pytest.approx(8 / 14)}
    assert told["shares"] == {"alice": expected, "bob": expected}
    figures = json.loads((models_folder() / "emotion.metrics.json").read_text())
    assert ["clean", "crema-d", figures["clean"]["crema-d"]["uar"]] in told["uar"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nowhere.duckdb", "no database; run `make demo`"), ("empty.duckdb", "no call in it")],
)
def test_a_database_without_calls_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    from nbclient.exceptions import CellExecutionError

    database = tmp_path / name
    if name == "empty.duckdb":
        run_ = make_run()
        failed = CallResult(recording=make_recording("call-1"), status="unreadable", error="no audio.")
        with Store(database) as store:
            store.begin_run(run_)
            store.write(failed, run_, analyzed_at=NOON)

    with pytest.raises(CellExecutionError, match=sentence):
        run(database, monkeypatch)


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    nbformat.validate(notebook)
    assert all(
        not cell.outputs and cell.execution_count is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )
