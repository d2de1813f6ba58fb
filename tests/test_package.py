"""What an installed callmood consists of."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_installs_one_package(wheel_files: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel_files if ".dist-info" not in name}

    assert top == {"callmood"}


def test_the_wheel_carries_the_models(wheel_files: set[str]) -> None:
    assert {
        "callmood/models/manifest.json",
        "callmood/models/emotion.json",
        "callmood/models/emotion.weights.h5",
        "callmood/models/speaker/voice.json",
        "callmood/models/speaker/voice.weights.h5",
        "callmood/models/speaker/campplus.onnx",
        "callmood/models/speaker/LICENSE-campplus",
    } <= wheel_files


def test_the_wheel_carries_the_templates_of_the_page(wheel_files: set[str]) -> None:
    templates = {
        f"callmood/report/templates/{name}" for name in ("page.html", "page.css", "page.js", "plot.svg")
    }

    assert templates <= wheel_files


def test_importing_callmood_loads_nothing_heavy() -> None:
    heavy = {
        "tensorflow",
        "keras",
        "librosa",
        "torch",
        "pandas",
        "duckdb",
        "numpy",
        "soundfile",
        "rich",
        "jinja2",
    }
    loaded = subprocess.run(
        [sys.executable, "-c", "import callmood, sys; print(' '.join(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert "callmood.api" in loaded
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("first", "loaded"), [("own_process()", set()), ("", {"matplotlib", "pandas", "sklearn"})]
)
def test_keras_lacks_nothing_but_in_a_process_of_our_own(first: str, loaded: set[str]) -> None:
    code = (
        "import sys; from callmood.emotion.device import import_tensorflow, own_process\n"
        f"{first}\n"
        "import_tensorflow(); import keras\n"
        "print(*{'matplotlib', 'pandas', 'sklearn'} & set(sys.modules))\n"
        "import matplotlib, pandas, sklearn\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(shown.stdout.split()) == loaded
