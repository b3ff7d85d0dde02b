import pytest

from ecmf.errors import ParamsError
from ecmf.execution.shard import Shard


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_all_shares_together_are_all_items_and_no_two_share_one(count):
    items = list(range(13))
    shares = [Shard.of(f"{number}/{count}")(items) for number in range(1, count + 1)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ParamsError, match="write i/n"):
        Shard.of(text)
