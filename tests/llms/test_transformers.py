"""The provider `transformers`: replies follow the schema and do not depend on the batch."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
import transformers
from injections import INJECTIONS
from llm_double import CLASSES

from ecmf import registry
from ecmf.enrichment import local_chat
from ecmf.enrichment.base import EnrichmentInput
from ecmf.enrichment.chat import Reply
from ecmf.enrichment.constrained_decoding import GrammarLogitsProcessor
from ecmf.enrichment.local_chat import LocalChat, load_chat_tokenizer
from ecmf.enrichment.prompts import build_prompt
from ecmf.enrichment.response_schema import answer_schema
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution.process_pool import Failure
from ecmf.pretrained.transformers_model import Pretrained, locate
from ecmf.pretrained.weights import Weights
from ecmf.storage import files

TWO = ("angry", "happy")
TEXTS = ["I hate this!", "", "Kids are talking by the door. " * 20, "你好", "No.", "Yes?"]


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat.chat(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat.even_handed(tmp_path_factory.mktemp("even"))


def weights(folder: Path, **more: Any) -> dict[str, Any]:
    return {"folder": str(folder), "sha256": files.sha256(folder), **more}


def pretrained(folder: Path) -> Pretrained:
    return locate(Weights.model_validate(weights(folder)))


def open_chat(folder: Path, longest_prompt: int = 4096, longest_answer: int = 8) -> LocalChat:
    return LocalChat(
        pretrained(folder), "tiny", answer_schema(CLASSES), longest_prompt, longest_answer
    )


def messages(text: str) -> Any:
    return build_prompt(EnrichmentInput("clip", text, "en"), CLASSES, "auto").messages


def replies(chat: LocalChat, texts: list[str]) -> dict[str, Reply | Failure]:
    for text in texts:
        chat.submit(text, messages(text))
    return dict(chat.receive() for _ in texts)


def provider(folder: Path, **options: Any) -> Any:
    return registry.build("llms", "Provider", "transformers", weights(folder, **options))


def test_a_random_model_still_writes_json_with_all_classes(random: Path) -> None:
    by_text = replies(open_chat(random, longest_answer=900), TEXTS[:2])
    for reply in by_text.values():
        assert isinstance(reply, Reply)
        assert reply.ended
        answer = json.loads(reply.text)
        assert list(answer) == ["cues", "paraphrase", "probabilities"]
        assert list(answer["probabilities"]) == list(CLASSES)
        assert all(0 <= share <= 1 for share in answer["probabilities"].values())
        assert len(answer["cues"]) <= 6
        assert 1 <= len(answer["paraphrase"]) <= 400
    assert len({reply.text for reply in by_text.values()}) == 2  # type: ignore[union-attr]


def test_an_answer_becomes_a_record(even: Path) -> None:
    inputs = [
        EnrichmentInput("a", "I hate this!", "en", ("loud voice",)),
        EnrichmentInput("b", "你好", "zh"),
    ]
    one, other = provider(even)(inputs, TWO)
    assert (one.state, one.reason) == ("whole", "")
    assert one.probabilities == other.probabilities == {"angry": 0.5, "happy": 0.5}
    assert one.enriched == "I hate this! (x; x; loud voice)"
    assert one.model == even.name


def test_a_rerun_loads_no_weights(even: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [EnrichmentInput("a", "I hate this!", "en")]
    first = provider(even)(inputs, TWO)

    def loaded(*_: Any) -> None:
        raise AssertionError("the network is loaded")

    monkeypatch.setattr("ecmf.llms.transformers.LocalChat", loaded)
    assert provider(even)(inputs, TWO) == first
    with pytest.raises(AssertionError, match="the network is loaded"):
        provider(even, longest_answer=99)(inputs, TWO)


def test_a_reply_is_the_same_to_the_bit_in_every_batch(
    random: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[int, ...], set[bytes]] = {}

    class Watched(GrammarLogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            for tokens, logits in zip(input_ids, scores, strict=True):
                prefix = tuple(tokens[(tokens != padding).nonzero()[0] :].tolist())
                seen.setdefault(prefix, set()).add(logits.numpy().tobytes())
            return super().__call__(input_ids, scores)

    padding = load_chat_tokenizer(pretrained(random)).eos_token_id
    monkeypatch.setattr(local_chat, "GrammarLogitsProcessor", Watched)
    texts = [f"{text}{number}" for number in range(2) for text in TEXTS[:5]]
    chat = open_chat(random)
    together = replies(chat, texts)
    backwards = replies(chat, texts[::-1])
    for text in TEXTS[:3]:
        (alone,) = replies(chat, [f"{text}0"]).values()
        varying = {"seconds"}
        for batched in (together, backwards):
            reply = batched[f"{text}0"]
            assert isinstance(reply, Reply)
            assert isinstance(alone, Reply)
            assert reply.model_dump(exclude=varying) == alone.model_dump(exclude=varying)
    assert len(seen) > 8 * len(texts) * 0.8
    assert {len(versions) for versions in seen.values()} == {1}


def test_padding_is_masked(random: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[torch.Tensor] = []

    class Watched(GrammarLogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            first.append(scores[0])
            return super().__call__(input_ids, scores)

    monkeypatch.setattr(local_chat, "GrammarLogitsProcessor", Watched)
    replies(open_chat(random, longest_answer=1), ["No."])
    plain = pretrained(random).load_model(transformers.AutoModelForCausalLM)
    encoded = load_chat_tokenizer(pretrained(random)).apply_chat_template(
        list(messages("No.")), add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    assert encoded["input_ids"].shape[1] % local_chat.TOKENS_PER_STEP
    with torch.inference_mode():
        logits = plain(**encoded).logits[0, -1]
    assert torch.allclose(first[0], logits, atol=1e-4)
    assert logits.std() > 0.1


def test_too_long_a_prompt_fails_its_clip_only(even: Path) -> None:
    inputs = [EnrichmentInput("a", "No.", "en"), EnrichmentInput("b", "well " * 999, "en")]
    one, other = provider(even, longest_prompt=1500)(inputs, TWO)
    assert one.state == "whole"
    assert (other.state, other.enriched) == ("failed", "well " * 999)
    assert "tokens, longest_prompt is 1500" in other.reason


def test_a_cut_reply_is_retried_and_reported(random: Path) -> None:
    (record,) = provider(random, longest_answer=5)([EnrichmentInput("a", "No.", "en")], CLASSES)
    assert record.state == "failed"
    assert record.reason.startswith("no answer in 3 replies: cut at 5 tokens")


def test_no_transcript_can_open_a_message_of_its_own(random: Path) -> None:
    tokenizer = load_chat_tokenizer(pretrained(random))
    turn = tokenizer.convert_tokens_to_ids(tiny_chat.TURN)
    for text in INJECTIONS:
        encoded = tokenizer.apply_chat_template(
            list(messages(text)), add_generation_prompt=True, return_dict=True
        )
        assert encoded["input_ids"].count(turn) == 3, text


def test_decoding_is_greedy_whatever_the_generation_config(
    random: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = tiny_chat.chat(tmp_path)
    transformers.GenerationConfig(
        do_sample=True, temperature=9.0, repetition_penalty=5.0, max_new_tokens=3
    ).save_pretrained(wild)
    texts = TEXTS[:1]
    tame, other = (
        replies(open_chat(folder, longest_answer=40), texts)[texts[0]] for folder in (random, wild)
    )
    assert isinstance(tame, Reply)
    assert isinstance(other, Reply)
    assert (tame.text, tame.tokens_out) == (other.text, 40)


def test_nan_logits_fail_the_clip(even: Path, tmp_path: Path) -> None:
    network = transformers.AutoModelForCausalLM.from_pretrained(even)
    network.lm_head.weight.data[9] = float("nan")
    network.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(even).save_pretrained(tmp_path)
    with_nan = provider(tmp_path, longest_answer=2)
    (record,) = with_nan([EnrichmentInput("a", "No.", "en")], CLASSES)
    assert (record.state, record.reason) == (
        "failed",
        "the network returned NaN: try precision: float32",
    )


def test_mixtures_of_experts_are_never_batched(random: Path, tmp_path: Path) -> None:
    assert open_chat(random).max_in_flight == local_chat.BATCHES_AHEAD * local_chat.ROWS_PER_BATCH
    experts = tiny_chat.chat(tmp_path, num_experts_per_tok=2)
    assert open_chat(experts).max_in_flight == local_chat.BATCHES_AHEAD


NO_SYSTEM = "{{ raise_exception('System role not supported') }}"


@pytest.mark.parametrize(
    ("template", "options", "error", "message"),
    [
        (None, {}, MissingFileError, "no fast tokenizer with a chat template"),
        (NO_SYSTEM, {}, ParamsError, "not accept a system message .*System role not supported"),
        (
            tiny_chat.CHATML, {"longest_prompt": 8000}, ParamsError,
            "longest_prompt 8000 and longest_answer 512 are more than the 8192 tokens",
        ),
    ],
)  # fmt: skip
def test_an_unusable_model_is_refused_with_the_reason(
    tmp_path: Path, template: str | None, options: dict[str, int], error: Any, message: str
) -> None:
    unusable = provider(tiny_chat.chat(tmp_path, template=template), **options)
    with pytest.raises(error, match=message):
        unusable([EnrichmentInput("a", "No.", "en")], CLASSES)


def test_everything_that_determines_a_reply_is_in_the_cache_key(
    random: Path, even: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = [
        provider(random).identity,
        provider(even).identity,
        provider(random, precision="bfloat16").identity,
        provider(random, longest_prompt=99).identity,
    ]
    monkeypatch.setattr(local_chat, "ROWS_PER_BATCH", 4)
    identities.append(provider(random).identity)
    monkeypatch.setenv("ECMF_DEVICE", "cuda:1")
    identities.append(provider(random).identity)
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == 6
    assert identities[0]["versions"].keys() == {"llguidance", "tokenizers"}
    assert identities[0]["provenance"].keys() >= {"torch", "transformers", "weights_sha256"}
