from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from include.ledger.packing import in_load_order, pack
from include.ledger.versions import PLANNED, table

SIZES = st.lists(st.integers(min_value=0, max_value=1000), max_size=200)
LIMIT = st.integers(min_value=1, max_value=50)


@given(SIZES, LIMIT, st.none() | st.integers(min_value=1, max_value=3000))
def test_every_file_is_in_one_batch_and_limits_hold(sizes: list[int], max_files: int, max_bytes: int | None) -> None:
    runs = list(pack(sizes, max_files, max_bytes))

    assert [index for start, end in runs for index in range(start, end)] == list(range(len(sizes)))
    for start, end in runs:
        assert 1 <= end - start <= max_files
        assert max_bytes is None or sum(sizes[start:end]) <= max_bytes or end - start == 1


@given(SIZES, LIMIT, st.integers(min_value=1, max_value=3000))
def test_no_batch_is_cut_that_had_room_for_the_next_file(sizes: list[int], max_files: int, max_bytes: int) -> None:
    for (start, end), (following, _) in pairwise(pack(sizes, max_files, max_bytes)):
        assert end == following
        assert end - start == max_files or sum(sizes[start:end]) + sizes[end] > max_bytes


@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=3)), unique_by=lambda file: file[1]), st.randoms())
def test_the_order_of_listing_changes_nothing(files: list[tuple[int, str]], random: object) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def ordered(listed: list[tuple[int, str]]) -> list[str]:
        rows = [(path, 1, modified_at, None, 1, "append", None) for modified_at, path in listed]
        columns: list[Sequence[object]] = list(zip(*rows, strict=True)) if rows else [[] for _ in PLANNED]
        paths: list[str] = in_load_order(table(columns, PLANNED))["path"].to_pylist()
        return paths

    assert ordered(shuffled) == ordered(files)
    assert ordered(files) == [path for _, path in sorted(files, key=lambda file: (file[0], file[1].encode()))]
