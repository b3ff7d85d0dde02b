"""Weights are found, checked and known before a clip is read; none are made up, no code is run."""

import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_vision
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, ViTForImageClassification, ViTModel

from ecmf import registry
from ecmf.errors import MissingFileError, ParamsError
from ecmf.pretrained.transformers_model import Layers, Pretrained, locate
from ecmf.pretrained.weights import Weights
from ecmf.storage.files import sha256

REPOSITORY = "someone/a-vit"
COMMIT = hashlib.sha1(b"a commit", usedforsecurity=False).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny ViT as `save_pretrained` leaves it."""
    tiny_vision.save("vit", tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; the hub is off."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def found(folder: Path, **options: Any) -> Pretrained:
    return locate(Weights(**tiny_vision.named(folder), **options))


def cached(folder: Path, cache: Path, revision: str = "main") -> Path:
    """Lay a folder out in the cache as huggingface_hub does; return the snapshot."""
    place = cache / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = place / "blobs" / _blob(file.name, content)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    (place / "refs").mkdir()
    (place / "refs" / revision).write_text(COMMIT)
    return snapshot


def _blob(name: str, content: bytes) -> str:
    """What the hub knows a file by: SHA-256 of a big one, git's hash of a small one."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_is_known_by_its_content(folder: Path) -> None:
    weights = found(folder).provenance
    assert weights["sha256"] == sha256(folder)
    assert weights["weights_sha256"] == sha256(folder / "model.safetensors")
    assert json.loads(json.dumps(weights)) == weights
    assert weights["transformers"]
    assert weights["torch"]


def test_a_folder_that_was_changed_is_not_taken_for_the_old_one(folder: Path) -> None:
    options = tiny_vision.named(folder)
    with (folder / "config.json").open("a") as config:
        config.write("\n")
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(folder)}"):
        locate(Weights(**options))


def test_a_folder_without_a_hash_tells_the_hash(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(folder)}"):
        locate(Weights(folder=str(folder)))


def test_a_folder_that_is_not_there_names_the_remedy() -> None:
    with pytest.raises(MissingFileError, match="copy a folder made by `save_pretrained`"):
        locate(Weights(folder="nowhere", sha256="0" * 64))


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="name the folder that `save_pretrained` wrote"):
        found(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "name either a repository or a folder"),
        ({"folder": "a", "repository": "b/c"}, "name either a repository or a folder"),
        ({"repository": "b/c", "sha256": "0"}, "a repository is fixed by its revision"),
    ],
)
def test_weights_come_from_one_place(options: dict[str, str], fault: str) -> None:
    with pytest.raises(ParamsError, match=fault):
        registry.options("encoders.image", "huggingface", options)


# --- files ------------------------------------------------------------------------------------


def test_a_pickle_is_not_read(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match="only safetensors are read"):
        found(folder)


def test_shards_are_read_and_known_together(folder: Path, tmp_path: Path) -> None:
    whole = found(folder).model(AutoModel, unused=["pooler"]).state_dict()
    shards = sharded(folder, tmp_path / "shards")
    parts = found(shards)
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert parts.provenance["weights_sha256"] == sha256(*sorted(shards.glob("*.safetensors")))
    read = parts.model(AutoModel, unused=["pooler"]).state_dict()
    used = [name for name in whole if not name.startswith("pooler")]
    assert all(torch.equal(whole[name], read[name]) for name in used)


def test_a_shard_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    shards = sharded(folder, tmp_path / "shards")
    last = sorted(shards.glob("*.safetensors"))[-1]
    last.unlink()
    with pytest.raises(MissingFileError, match=f"has no {last.name}: "):
        found(shards)


def test_an_index_that_is_cut_off_is_no_index_of_nothing(folder: Path, tmp_path: Path) -> None:
    shards = sharded(folder, tmp_path / "shards")
    index = shards / "model.safetensors.index.json"
    index.write_text(index.read_text()[:40])
    with pytest.raises(MissingFileError, match="does not say which files hold the weights"):
        found(shards)


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_a_file_that_is_cut_off_is_told_before_any_clip(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(MissingFileError, match=r"is no safetensors file .*: delete"):
        found(folder)


def sharded(folder: Path, target: Path) -> Path:
    ViTForImageClassification.from_pretrained(folder).save_pretrained(target, max_shard_size="20KB")
    return target


# --- networks ---------------------------------------------------------------------------------


def test_weights_that_are_not_in_the_file_are_not_made_up(folder: Path) -> None:
    pretrained = found(folder)
    with pytest.raises(MissingFileError, match=r"lacks 2 weights of ViTModel .*pooler.dense.bias"):
        pretrained.model(ViTModel)


def test_weights_that_are_not_used_may_lack(folder: Path) -> None:
    network = found(folder).model(ViTModel, unused=["pooler"])
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(network.state_dict()["layernorm.weight"], saved["vit.layernorm.weight"])
    assert not network.training


def test_a_weight_of_another_shape_is_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["vit.layernorm.weight"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingFileError, match=r"lacks 1 weights .*\(layernorm.weight"):
        found(folder).model(ViTModel, unused=["pooler"])


@pytest.mark.parametrize(
    ("precision", "stored"),
    [("float32", "float32"), ("bfloat16", "float32"), ("float16", "float16")],
)
def test_a_network_computes_in_the_precision_that_was_asked_for(
    folder: Path, precision: str, stored: str
) -> None:
    pretrained = found(folder, precision=precision)
    network = pretrained.model(ViTModel, unused=["pooler"])
    kind = getattr(torch, precision)
    assert {weight.dtype for weight in network.parameters()} == {kind}
    assert pretrained.dtype == stored
    assert pretrained.provenance["precision"] == precision
    with pretrained.computing():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == kind
    assert product.is_inference()


def test_a_gpu_computes_float32_in_float32(folder: Path) -> None:
    with found(folder).computing():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    "config",
    ['{"model_type": "made-up"}', "{", "[]", '{"model_type": "vit", "hidden_size": "wide"}', None],
)
def test_a_configuration_of_no_known_network_is_refused(folder: Path, config: str | None) -> None:
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(MissingFileError, match="describes no network that transformers"):
        _ = found(folder).config


def test_code_of_a_repository_is_never_run(folder: Path) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    with_code(folder, "config.json", AutoConfig="mine.Config", AutoModel="mine.Model")
    with_code(folder, "preprocessor_config.json", AutoImageProcessor="mine.Processor")
    pretrained = found(folder)
    assert type(pretrained.model(AutoModel, unused=["pooler"])) is ViTModel
    assert pretrained.preprocessor(AutoImageProcessor, backend="pil").size.height == 32


@pytest.mark.parametrize(
    ("file", "key"),
    [("config.json", "model_type"), ("preprocessor_config.json", "image_processor_type")],
)
def test_what_cannot_be_had_without_code_of_the_repository_is_refused(
    folder: Path, file: str, key: str
) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    parts = {"AutoConfig": "mine.C", "AutoModel": "mine.M", "AutoImageProcessor": "mine.P"}
    with_code(folder, file, **parts)
    text = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**text, key: "mine"}))
    with pytest.raises(MissingFileError, match="code"):
        registry.create("encoders.image", "Encoder", "huggingface", tiny_vision.named(folder))


def with_code(folder: Path, file: str, **parts: str) -> None:
    text = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**text, "auto_map": parts}))


def test_a_preprocessor_that_was_not_saved_is_missed_by_name(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    pretrained = found(folder)
    with pytest.raises(MissingFileError, match=r"AutoImageProcessor can load .*`hf download"):
        pretrained.preprocessor(AutoImageProcessor, backend="pil")


# --- layers -----------------------------------------------------------------------------------


def test_layers_are_counted_from_either_end() -> None:
    Layers(layers=(0, 3, -4)).check(4)
    with pytest.raises(ParamsError, match=r"layers \[4, -5\] are not there: .* 4 hidden states"):
        Layers(layers=(0, 4, -5)).check(4)


def test_layers_are_added_or_averaged_in_float32() -> None:
    states = [torch.full((2, 3, 4), float(number)).half() for number in (1, 2, 60_000)]
    added = Layers(layers=(0, -1)).combined(states)
    assert added.dtype == torch.float32
    assert torch.equal(added, torch.full((2, 3, 4), 60_001.0))
    averaged = Layers(layers=(0, 1), combine="mean").combined(states)
    assert torch.equal(averaged, torch.full((2, 3, 4), 1.5))


def test_layers_come_to_stand_side_by_side_in_their_order() -> None:
    states = [torch.full((2, 3, 4), float(number)).half() for number in (1, 2, 3)]
    wide = Layers(layers=(2, 0), combine="concat")
    joined = wide.combined(states)
    assert joined.dtype == torch.float32
    assert joined.shape == (2, 3, wide.dim(4))
    assert joined[0, 0].tolist() == [3.0] * 4 + [1.0] * 4
    assert Layers(layers=(2, 0)).dim(4) == 4


# --- the hub ----------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["huggingface", "videomae"])
def test_a_repository_that_cannot_be_reached_names_the_remedy_before_any_clip(
    cache: Path, member: str
) -> None:
    with pytest.raises(MissingFileError, match=r"connect once to fetch it .*`folder`"):
        registry.create("encoders.image", "Encoder", member, {"repository": REPOSITORY})


def test_a_name_that_no_repository_can_have_is_refused(cache: Path) -> None:
    with pytest.raises(MissingFileError, match="'a/b/c' is no name of a repository"):
        locate(Weights(repository="a/b/c"))


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_repository_that_was_fetched_is_used_without_the_hub_and_known_by_its_commit(
    folder: Path, cache: Path, revision: str
) -> None:
    snapshot = cached(folder, cache)
    pretrained = locate(Weights(repository=REPOSITORY, revision=revision))
    assert pretrained.folder == snapshot
    assert pretrained.provenance["commit"] == COMMIT
    assert pretrained.provenance["repository"] == REPOSITORY
    assert pretrained.provenance["weights_sha256"] == sha256(folder / "model.safetensors")
    pretrained.model(ViTModel, unused=["pooler"])


def test_a_revision_that_was_not_fetched_is_not_replaced_by_another(
    folder: Path, cache: Path
) -> None:
    cached(folder, cache)
    with pytest.raises(MissingFileError, match="a-vit at 'v2' is not wholly on this machine"):
        locate(Weights(repository=REPOSITORY, revision="v2"))


def test_a_blob_that_was_damaged_is_told_from_a_good_one(folder: Path, cache: Path) -> None:
    snapshot = cached(folder, cache)
    blob = (snapshot / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(MissingFileError, match=f"is damaged, .*: delete .*{blob.name}"):
        locate(Weights(repository=REPOSITORY))


def test_a_repository_of_pickles_names_the_remedy(folder: Path, cache: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    cached(folder, cache)
    with pytest.raises(MissingFileError, match=r"only safetensors are read.*refs/pr"):
        locate(Weights(repository=REPOSITORY))


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for, over the files of one folder."""

    folder: Path
    refuses: bool
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        if self.refuses:
            self.send_error(503)
        elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self.answer(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            listed = [_listed(name, content) for name, content in files.items()]
            self.answer(json.dumps(listed).encode())
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            content = files[path.rpartition("/")[2]]
            self.answer(content, ETag=f'"{_blob(path, content)}"')
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (the server asks for it by this name)

    def answer(self, content: bytes, **headers: str) -> None:
        self.send_response(200)
        headers |= {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _listed(name: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(content), "oid": _blob(name, content)}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": entry["oid"], "size": len(content), "pointerSize": 134}
    return entry


@pytest.fixture
def hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub that holds the folder, and nothing of it in the cache."""
    handler = type("Handler", (Hub,), {"folder": folder, "refuses": False, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}"
    files = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, place)
    monkeypatch.setattr(constants, "ENDPOINT", place)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield handler
    server.shutdown()
    server.server_close()


def test_a_repository_is_fetched_once_without_its_code_and_its_pickles(
    folder: Path, hub: type[Hub]
) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    fetched = locate(Weights(repository=REPOSITORY))
    names = sorted(file.name for file in fetched.folder.iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert fetched.provenance["commit"] == COMMIT
    hub.asked.clear()
    assert locate(Weights(repository=REPOSITORY)) == fetched
    assert not hub.asked


def test_a_download_that_broke_off_is_completed(folder: Path, cache: Path, hub: type[Hub]) -> None:
    (cached(folder, cache) / "model.safetensors").unlink()
    fetched = locate(Weights(repository=REPOSITORY))
    assert fetched.provenance["weights_sha256"] == sha256(folder / "model.safetensors")
    assert hub.asked


def test_a_hub_that_is_down_names_the_remedy(hub: type[Hub]) -> None:
    hub.refuses = True
    with pytest.raises(MissingFileError, match=r"cannot be fetched \(.*\): connect once"):
        locate(Weights(repository=REPOSITORY))


def test_a_repository_that_the_hub_does_not_have_is_said_to_be_missing(hub: type[Hub]) -> None:
    with pytest.raises(MissingFileError, match=r"someone/else at 'main' .*Repository Not Found"):
        locate(Weights(repository="someone/else"))


def test_a_proxy_that_lets_nobody_through_is_no_crash(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    close_session()  # it keeps the proxies it began with
    try:
        with pytest.raises(MissingFileError, match="connect once to fetch it"):
            locate(Weights(repository=REPOSITORY))
    finally:
        close_session()
