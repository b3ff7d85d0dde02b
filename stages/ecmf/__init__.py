"""ECMF: train an emotion-recognition model on a folder of video clips, and score it.

A stage has a package of its activity (`decoding`) and a package of its plugins (`decoders`). A
plugin may import the package of its stage, which loads plugins by name and never imports them.
`storage`, `execution` and `data` serve all stages.

    from ecmf import load
    load("models/fusion").predict("clip.mp4")
"""

import importlib
from pathlib import Path
from typing import Any


def load(folder: Path | str = "models/fusion") -> Any:
    """Load trained models from `folder`, as an `ecmf.inference.trained_model.TrainedModel`."""
    # Imported here, so that `import ecmf` does not wait for torch.
    return importlib.import_module("ecmf.inference.trained_model").TrainedModel(folder)
