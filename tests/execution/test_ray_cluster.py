"""Two nodes on this machine, one of them lost halfway, give the same bytes as one process."""

import sys

import numpy as np
import pytest

from ecmf.encoding.store_encoder import encode_image_store
from ecmf.errors import UserError
from ecmf.execution import result_cache
from ecmf.params import ImageChoice
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

MOTION = ImageChoice(encoder="motion")


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "frames.h5", Layout(jpeg=True), {}) as out:
        for number in range(40):
            images = [rng.integers(0, 255, (48, 64, 3), "uint8") for _ in range(4)]
            files = [encode_jpeg(image, 95) for image in images]
            out.append(f"clip_{number}", Rows(files, np.arange(4.0)))
    return tmp_path / "frames.h5"


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.slow
def test_a_cluster_that_loses_a_node_halfway_gives_the_bytes_of_one_machine(
    frames, tmp_path, monkeypatch
):
    from ray.cluster_utils import Cluster

    from ecmf.execution import ray_cluster

    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "local"))
    encode_image_store("frame/motion", MOTION, frames, tmp_path / "local.h5", budget=0)

    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "shared"))
    monkeypatch.setenv("ECMF_ENGINE", "ray")
    monkeypatch.setattr(ray_cluster, "CLIPS_PER_PACK", 2)  # many tasks
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        lost = nodes.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        finished, done = ray_cluster._finished, []

        def losing_one(running):
            done.append(len(running))
            if len(done) == 3:
                nodes.remove_node(lost, allow_graceful=False)
            return finished(running)

        monkeypatch.setattr(ray_cluster, "_finished", losing_one)
        encode_image_store("frame/motion", MOTION, frames, tmp_path / "shared.h5", budget=0)
    finally:
        nodes.shutdown()
    assert len(done) > 3
    assert (tmp_path / "local.h5").read_bytes() == (tmp_path / "shared.h5").read_bytes()
    (recipe,) = result_cache.recipe_folders()
    assert len(result_cache.pack_paths(recipe)) >= 20


def test_without_ray_the_error_names_what_to_install(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ECMF_ENGINE", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed: run pip install 'ray>=2.60,<3'"):
        encode_image_store("frame/motion", MOTION, frames, tmp_path / "out.h5", budget=0)


def test_no_cluster_is_started_if_every_clip_is_cached(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))
    encode_image_store("frame/motion", MOTION, frames, tmp_path / "out.h5", budget=0)
    monkeypatch.setenv("ECMF_ENGINE", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    encode_image_store("frame/motion", MOTION, frames, tmp_path / "again.h5", budget=0)
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
