import pytest

from ecmf.errors import ParamsError
from ecmf.execution.shard import Shard


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_shards_partition_the_items(count):
    items = list(range(13))
    shards = [Shard.parse(f"{number}/{count}")(items) for number in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_an_invalid_shard_is_refused(text):
    with pytest.raises(ParamsError, match="write i/n"):
        Shard.parse(text)
