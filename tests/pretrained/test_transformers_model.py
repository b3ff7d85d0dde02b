"""Weights are found and verified before a clip is read; none is random, no code is run."""

import hashlib
import http.server
import json
import os
import struct
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
from ecmf.pretrained.hub_file import find_file
from ecmf.pretrained.transformers_model import LayerOptions, Pretrained, locate
from ecmf.pretrained.weights import Weights
from ecmf.storage.files import sha256

REPOSITORY = "someone/a-vit"
COMMIT = hashlib.sha1(b"a commit", usedforsecurity=False).hexdigest()


def claims(dtype: str, shape: list[int], offsets: list[int]) -> bytes:
    """Make a safetensors file of 4 bytes of data whose header claims a tensor."""
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


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


def located(folder: Path, **options: Any) -> Pretrained:
    return locate(Weights(**tiny_vision.options(folder), **options))


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
    """Name of a file's blob in the hub: SHA-256 of a large one, git's hash of a small one."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


# --- folders ----------------------------------------------------------------------------------


def test_the_provenance_of_a_folder_hashes_its_content(folder: Path) -> None:
    weights = located(folder).provenance
    assert weights["sha256"] == sha256(folder)
    assert weights["weights_sha256"] == sha256(folder / "model.safetensors")
    assert json.loads(json.dumps(weights)) == weights
    assert weights["transformers"]
    assert weights["torch"]


def test_a_changed_folder_is_refused(folder: Path) -> None:
    options = tiny_vision.options(folder)
    with (folder / "config.json").open("a") as config:
        config.write("\n")
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(folder)}"):
        locate(Weights(**options))


def test_a_folder_without_a_hash_is_refused_with_its_hash(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=f"set sha256: {sha256(folder)}"):
        locate(Weights(folder=str(folder)))


def test_a_missing_folder_names_the_remedy() -> None:
    with pytest.raises(MissingFileError, match="copy a folder made by `save_pretrained`"):
        locate(Weights(folder="nowhere", sha256="0" * 64))


def test_a_file_in_place_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="name the folder that `save_pretrained` wrote"):
        located(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name either a repository or a folder"),
        ({"folder": "a", "repository": "b/c"}, "name either a repository or a folder"),
        ({"repository": "b/c", "sha256": "0"}, "a repository is fixed by its revision"),
    ],
)
def test_weights_come_from_one_place(options: dict[str, str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        registry.check_options("encoders.image", "huggingface", options)


# --- files ------------------------------------------------------------------------------------


def test_a_pickle_is_not_read(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match="only safetensors are read"):
        located(folder)


def test_shards_are_read_and_hashed_together(folder: Path, tmp_path: Path) -> None:
    whole = located(folder).load_model(AutoModel, unused=["pooler"]).state_dict()
    shards = sharded(folder, tmp_path / "shards")
    parts = located(shards)
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert parts.provenance["weights_sha256"] == sha256(*sorted(shards.glob("*.safetensors")))
    read = parts.load_model(AutoModel, unused=["pooler"]).state_dict()
    used = [name for name in whole if not name.startswith("pooler")]
    assert all(torch.equal(whole[name], read[name]) for name in used)


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path) -> None:
    shards = sharded(folder, tmp_path / "shards")
    last = sorted(shards.glob("*.safetensors"))[-1]
    last.unlink()
    with pytest.raises(MissingFileError, match=f"has no {last.name}: "):
        located(shards)


def test_a_truncated_index_is_refused(folder: Path, tmp_path: Path) -> None:
    shards = sharded(folder, tmp_path / "shards")
    index = shards / "model.safetensors.index.json"
    index.write_text(index.read_text()[:40])
    with pytest.raises(MissingFileError, match="does not list the weight files"):
        located(shards)


@pytest.mark.parametrize("elsewhere", ["../secret.safetensors", "a/../../b", "/var/x.safetensors"])
def test_an_index_that_names_a_file_elsewhere_is_refused(
    folder: Path, tmp_path: Path, elsewhere: str
) -> None:
    shards = sharded(folder, tmp_path / "shards")
    index = shards / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][next(iter(content["weight_map"]))] = elsewhere
    index.write_text(json.dumps(content))
    with pytest.raises(MissingFileError, match=r"names .*, a file outside of its folder"):
        located(shards)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 10**12) + b"{}",
        struct.pack("<Q", 2**64 - 1) + b"{}",
        claims("F32", [10**6, 10**6], [0, 4 * 10**12]),
        claims("F32", [10**6, 10**6], [0, 4]),
        claims("F32", [2**63, 2**63], [0, 4]),
        claims("F32", [1], [4, 0]),
    ],
)
def test_a_header_that_claims_what_the_file_does_not_hold_is_refused(
    folder: Path, content: bytes
) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(MissingFileError, match="is not a safetensors file"):
        located(folder)


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_a_truncated_file_is_refused_before_any_clip(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(MissingFileError, match=r"is not a safetensors file .*: delete"):
        located(folder)


def sharded(folder: Path, target: Path) -> Path:
    ViTForImageClassification.from_pretrained(folder).save_pretrained(target, max_shard_size="20KB")
    return target


# --- networks ---------------------------------------------------------------------------------


def test_weights_missing_in_the_file_are_not_initialised_at_random(folder: Path) -> None:
    pretrained = located(folder)
    with pytest.raises(MissingFileError, match=r"lacks 2 weights of ViTModel .*pooler.dense.bias"):
        pretrained.load_model(ViTModel)


def test_unused_weights_may_be_missing(folder: Path) -> None:
    network = located(folder).load_model(ViTModel, unused=["pooler"])
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(network.state_dict()["layernorm.weight"], saved["vit.layernorm.weight"])
    assert not network.training


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["vit.layernorm.weight"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingFileError, match=r"lacks 1 weights .*\(layernorm.weight"):
        located(folder).load_model(ViTModel, unused=["pooler"])


@pytest.mark.parametrize(
    ("precision", "stored"),
    [("float32", "float32"), ("bfloat16", "float32"), ("float16", "float16")],
)
def test_a_network_computes_in_the_chosen_precision(
    folder: Path, precision: str, stored: str
) -> None:
    pretrained = located(folder, precision=precision)
    network = pretrained.load_model(ViTModel, unused=["pooler"])
    kind = getattr(torch, precision)
    assert {weight.dtype for weight in network.parameters()} == {kind}
    assert pretrained.dtype == stored
    assert pretrained.provenance["precision"] == precision
    with pretrained.inference():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == kind
    assert product.is_inference()


def test_a_gpu_computes_float32_in_float32(folder: Path) -> None:
    with located(folder).inference():
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
        _ = located(folder).config


def test_code_of_a_repository_is_never_run(folder: Path) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    with_code(folder, "config.json", AutoConfig="mine.Config", AutoModel="mine.Model")
    with_code(folder, "preprocessor_config.json", AutoImageProcessor="mine.Processor")
    pretrained = located(folder)
    assert type(pretrained.load_model(AutoModel, unused=["pooler"])) is ViTModel
    assert pretrained.load_preprocessor(AutoImageProcessor, backend="pil").size.height == 32


@pytest.mark.parametrize(
    ("file", "key"),
    [("config.json", "model_type"), ("preprocessor_config.json", "image_processor_type")],
)
def test_parts_that_need_code_of_the_repository_are_refused(
    folder: Path, file: str, key: str
) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    parts = {"AutoConfig": "mine.C", "AutoModel": "mine.M", "AutoImageProcessor": "mine.P"}
    with_code(folder, file, **parts)
    text = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**text, key: "mine"}))
    with pytest.raises(MissingFileError, match="code"):
        registry.build("encoders.image", "Encoder", "huggingface", tiny_vision.options(folder))


def with_code(folder: Path, file: str, **parts: str) -> None:
    text = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**text, "auto_map": parts}))


def test_a_missing_preprocessor_is_named(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    pretrained = located(folder)
    with pytest.raises(MissingFileError, match=r"AutoImageProcessor can load .*`hf download"):
        pretrained.load_preprocessor(AutoImageProcessor, backend="pil")


# --- layers -----------------------------------------------------------------------------------


def test_layers_are_counted_from_either_end() -> None:
    LayerOptions(layers=(0, 3, -4)).check_layers(4)
    with pytest.raises(ParamsError, match=r"layers \[4, -5\] do not exist: .* 4 hidden states"):
        LayerOptions(layers=(0, 4, -5)).check_layers(4)


def test_layers_are_added_or_averaged_in_float32() -> None:
    states = [torch.full((2, 3, 4), float(number)).half() for number in (1, 2, 60_000)]
    added = LayerOptions(layers=(0, -1)).combine_layers(states)
    assert added.dtype == torch.float32
    assert torch.equal(added, torch.full((2, 3, 4), 60_001.0))
    averaged = LayerOptions(layers=(0, 1), combine="mean").combine_layers(states)
    assert torch.equal(averaged, torch.full((2, 3, 4), 1.5))


def test_layers_are_concatenated_in_their_order() -> None:
    states = [torch.full((2, 3, 4), float(number)).half() for number in (1, 2, 3)]
    wide = LayerOptions(layers=(2, 0), combine="concat")
    joined = wide.combine_layers(states)
    assert joined.dtype == torch.float32
    assert joined.shape == (2, 3, wide.dim(4))
    assert joined[0, 0].tolist() == [3.0] * 4 + [1.0] * 4
    assert LayerOptions(layers=(2, 0)).dim(4) == 4


# --- the hub ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["huggingface", "videomae"])
def test_an_unreachable_repository_names_the_remedy_before_any_clip(
    cache: Path, encoder: str
) -> None:
    with pytest.raises(MissingFileError, match=r"connect once to download it .*`folder`"):
        registry.build("encoders.image", "Encoder", encoder, {"repository": REPOSITORY})


def test_an_invalid_name_of_a_repository_is_refused(cache: Path) -> None:
    with pytest.raises(MissingFileError, match="'a/b/c' is not a repository name"):
        locate(Weights(repository="a/b/c"))


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_downloaded_repository_is_used_without_the_hub_and_identified_by_its_commit(
    folder: Path, cache: Path, revision: str
) -> None:
    snapshot = cached(folder, cache)
    pretrained = locate(Weights(repository=REPOSITORY, revision=revision))
    assert pretrained.folder == snapshot
    assert pretrained.provenance["commit"] == COMMIT
    assert pretrained.provenance["repository"] == REPOSITORY
    assert pretrained.provenance["weights_sha256"] == sha256(folder / "model.safetensors")
    pretrained.load_model(ViTModel, unused=["pooler"])


def test_a_revision_that_was_not_downloaded_is_not_replaced_by_another(
    folder: Path, cache: Path
) -> None:
    cached(folder, cache)
    with pytest.raises(MissingFileError, match="a-vit at 'v2' is not complete on this machine"):
        locate(Weights(repository=REPOSITORY, revision="v2"))


def test_a_damaged_blob_is_refused(folder: Path, cache: Path) -> None:
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
    """The part of the hub that a download requests, over the files of one folder."""

    folder: Path
    fails: bool
    requested: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.requested.append(path)
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        if self.fails:
            self.send_error(503)
        elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self.answer(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            listed = [_listed(name, content) for name, content in files.items()]
            self.answer(json.dumps(listed).encode())
        elif path.startswith((f"/{REPOSITORY}/resolve/{COMMIT}/", f"/{REPOSITORY}/resolve/main/")):
            name = path.rpartition("/")[2]
            if name not in files:
                self.refuse("EntryNotFound")
                return
            content = files[name]
            self.answer(content, ETag=f'"{_blob(path, content)}"')
        else:
            self.refuse("RepoNotFound")

    do_HEAD = do_GET  # noqa: N815 (the server looks it up by this name)

    def refuse(self, reason: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", reason)
        self.end_headers()

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
    handler = type("Handler", (Hub,), {"folder": folder, "fails": False, "requested": []})
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


def test_a_repository_is_downloaded_once_without_its_code_and_its_pickles(
    folder: Path, hub: type[Hub]
) -> None:
    (folder / "mine.py").write_text("raise SystemExit('the code was run')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    downloaded = locate(Weights(repository=REPOSITORY))
    names = sorted(file.name for file in downloaded.folder.iterdir())
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert downloaded.provenance["commit"] == COMMIT
    hub.requested.clear()
    assert locate(Weights(repository=REPOSITORY)) == downloaded
    assert not hub.requested


def test_an_interrupted_download_is_completed(folder: Path, cache: Path, hub: type[Hub]) -> None:
    (cached(folder, cache) / "model.safetensors").unlink()
    downloaded = locate(Weights(repository=REPOSITORY))
    assert downloaded.provenance["weights_sha256"] == sha256(folder / "model.safetensors")
    assert hub.requested


def test_a_single_file_is_downloaded_once_and_identified_by_its_commit(
    folder: Path, hub: type[Hub]
) -> None:
    path, provenance = find_file(REPOSITORY, "main", "config.json", "name a file")
    assert path.read_bytes() == (folder / "config.json").read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]
    assert provenance == {"repository": REPOSITORY, "commit": COMMIT}
    hub.requested.clear()
    assert find_file(REPOSITORY, "main", "config.json", "name a file") == (path, provenance)
    assert not hub.requested


def test_a_single_file_that_the_hub_does_not_have_names_the_remedy(hub: type[Hub]) -> None:
    absent = r"no\.onnx of someone/a-vit at 'main' .*Entry Not Found.*name a file"
    with pytest.raises(MissingFileError, match=absent):
        find_file(REPOSITORY, "main", "no.onnx", "name a file")


def test_a_hub_that_is_down_names_the_remedy(hub: type[Hub]) -> None:
    hub.fails = True
    with pytest.raises(MissingFileError, match=r"cannot be downloaded \(.*\): connect once"):
        locate(Weights(repository=REPOSITORY))


def test_a_repository_that_the_hub_does_not_have_is_reported_as_missing(hub: type[Hub]) -> None:
    with pytest.raises(MissingFileError, match=r"someone/else at 'main' .*Repository Not Found"):
        locate(Weights(repository="someone/else"))


def test_a_proxy_that_refuses_all_requests_names_the_remedy(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    close_session()  # it keeps the proxies it was opened with
    try:
        with pytest.raises(MissingFileError, match="connect once to download it"):
            locate(Weights(repository=REPOSITORY))
    finally:
        close_session()
