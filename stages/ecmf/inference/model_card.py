"""Write the card of packed models, `README.md`, with the head in YAML that the hub reads."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ecmf import registry
from ecmf.inference.trained_model import DETAILS, EVALUATION
from ecmf.params import BRANCHES, STAGE_OF_BRANCH
from ecmf.storage.files import write_text
from ecmf.training.model_metadata import ModelMetadata

FILE_NAME = "README.md"

FAMILIES = {"frame": "image", "face": "image", "audio": "audio", "text": "text"}
"""Family of the encoders of each branch."""

TEXT = """\
# Emotions in clips of one person: {model}

Predicts {outputs} from a clip of video or audio and its transcript, by {sources}.

## Use

```console
$ ecmf model check FOLDER
$ ecmf predict --model FOLDER clip.mp4 --transcript "What is said in it."
```

```python
from ecmf import load

load("FOLDER").predict("clip.mp4", transcript="What is said in it.").outputs
```

## Training

On the corpus `{corpus}`: {clips} labelled clips, {runs} trainings per model of {members}.
`card.yaml` has all parameters, from decoding to training.

## Scores

On {test_clips} clips of {groups} groups (speakers, dialogues or films) by {protocol}; none of them
was trained on.

{scores}

## Intended use

Research on how emotion is expressed in clips like those of the corpus. The classes are what
annotators saw, not what a person felt.

## Limits

- Scores hold for clips like those of `{corpus}`: other languages, cameras, ages and cultures are
  not measured. Probabilities are not calibrated.
- One person per clip is followed. A clip of another length than those of the corpus is sampled in
  as many frames.
- A decision about a person must not rest on it. The European Union forbids systems that infer
  emotions at work and in education (Regulation 2024/1689, Article 5(1)(f)).

## Licences

{licences}
"""


def write_card(folder: Path, metadata: ModelMetadata) -> None:
    """Write the card into a folder that has the model and the reports of its evaluation."""
    evaluation, details = (
        json.loads((folder / name).read_text("utf-8")) for name in (EVALUATION, DETAILS)
    )
    body = TEXT.format(
        model=metadata.training.model,
        outputs=", ".join(metadata.outputs),
        sources=", ".join(source.name for source in metadata.sources),
        corpus=metadata.corpus,
        clips=max(max(run.targets.values()) for run in metadata.members[0].runs),
        runs=len(metadata.members[0].runs),
        members=", ".join(f"{m.name} ({m.parameters} parameters)" for m in metadata.members),
        test_clips=evaluation["test"]["clips"],
        groups=details["test"]["groups"],
        protocol=details["protocol"],
        scores="\n".join(_scores(evaluation["test"])),
        licences="\n".join(f"- {line}" for line in licences(metadata)),
    )
    head = _head(metadata, evaluation["test"]).to_yaml()
    write_text(folder / FILE_NAME, f"---\n{head}\n---\n\n{body}")


def licences(metadata: ModelMetadata) -> Iterator[str]:
    """Yield what limits the use of the model: its corpus, and the weights of its plugins."""
    gated = [
        name
        for name in registry.names("corpora")
        if metadata.corpus.startswith(name) and registry.load("corpora", name).Corpus.gated
    ]
    yield f"corpus `{metadata.corpus}`: " + (
        "gated, what is made of it may not be passed on" if gated else "see its own terms"
    )
    stages = metadata.preparation
    plugins = [
        ("detectors", stages.crop_faces.detector),
        ("transcribers", stages.transcribe_speech.transcriber),
        ("llms", stages.enrich_text.provider),
    ]
    names = {source.name for source in metadata.sources}
    for branch in BRANCHES:
        for name, choice in getattr(stages, STAGE_OF_BRANCH[branch]).encoders.items():
            if f"{branch}/{name}" in names:
                plugins.append((f"encoders.{FAMILIES[branch]}", choice.encoder))
    for family, plugin in dict.fromkeys(plugins):
        if licence := getattr(registry.load(family, plugin), "WEIGHTS_LICENCE", ""):
            yield f"weights that `{plugin}` ({family}) reads: {licence}"
    yield "program: MIT"


def _scores(test: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the scores; bounds of an interval stand beside their score."""
    yield "| score | value | 95 % interval |"
    yield "|---|---|---|"
    for name, value in test.items():
        if isinstance(value, float) and not name.endswith(("_low", "_high")):
            bounds = [test[f"{name}_{end}"] for end in ("low", "high") if f"{name}_{end}" in test]
            yield f"| {name} | {value:.3f} | {' to '.join(f'{bound:.3f}' for bound in bounds)} |"
        elif isinstance(value, dict):
            yield from (f"| {name} of {key} | {part:.3f} | |" for key, part in value.items())


def _head(metadata: ModelMetadata, test: Mapping[str, Any]) -> ModelCardData:
    name, value = next((name, value) for name, value in test.items() if isinstance(value, float))
    result = EvalResult(
        task_type="video-classification",
        dataset_type=metadata.corpus,
        dataset_name=metadata.corpus,
        metric_type=name,
        metric_value=round(value, 4),
    )
    return ModelCardData(
        library_name="ecmf",
        license="other",
        pipeline_tag="video-classification",
        tags=["emotion-recognition", "multimodal"],
        model_name=f"ecmf-{metadata.training.model}-{metadata.corpus}",
        eval_results=[result],
    )
