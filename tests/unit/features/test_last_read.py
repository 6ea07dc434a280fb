"""What is remembered of the rows last read: never older than what this process knows, and never more than its bounds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.features.codec import LAYOUT
from services.features.last_read import ROW_BYTES, LastRead

MIB = 1024 * 1024
ALL, NONE = np.array([True]), np.array([False])


def row(time_us: int, text: bytes = b"") -> bytes:
    """Return a packed row of an event time."""
    return bytes([LAYOUT]) + b"\1\0\0\0" + time_us.to_bytes(8, "little") + b"\0" + text


def read(memory: LastRead, **rows: bytes | None) -> None:
    """Read rows by name."""
    with memory.reading() as reading:
        memory.keep(reading, [name.encode() for name in rows], list(rows.values()))


@pytest.fixture
def memory() -> LastRead:
    """A memory with room for all that is told to it."""
    return LastRead(MIB)


def test_rows_are_recalled_as_they_were_last_read(memory: LastRead) -> None:
    """The later of two reads counts; what nobody has read is not known."""
    read(memory, a=row(1), b=row(2))
    read(memory, b=row(3))

    assert [row(3), None, row(1)] == memory.recall([b"b", b"c", b"a"])


def test_what_has_gone_is_forgotten(memory: LastRead) -> None:
    """A read that finds nothing takes away what one before has found; its neighbours are remembered."""
    read(memory, a=row(1), b=row(1))
    read(memory, a=None, b=row(2), c=None)

    assert [None, row(2), None] == memory.recall([b"a", b"b", b"c"])
    assert 1 == len(memory)


def test_a_write_replaces_what_was_read(memory: LastRead) -> None:
    """What this process has written is what it remembers, of two rows with one key the last; a row never read stays unknown."""
    read(memory, a=row(1))
    keys, rows = [b"a", b"b", b"a"], [row(2), row(2), row(3)]
    with memory.changing(keys) as change:
        change.written(rows, np.array([True, True, True]))

    assert [row(3), None] == memory.recall([b"a", b"b"])


@pytest.mark.parametrize(("known", "recalled"), [(5, row(5)), (7, row(7)), (3, None)])
def test_a_write_that_gave_way_tells_of_a_later_event(memory: LastRead, known: int, recalled: bytes | None) -> None:
    """What is older than the event that the store did not take is older than what it holds, and is not told any more."""
    read(memory, a=row(known))
    with memory.changing([b"a"]) as change:
        change.written([row(5)], NONE)

    assert [recalled] == memory.recall([b"a"])


def test_a_write_that_fails_leaves_what_was_read(memory: LastRead) -> None:
    """Whether the store has taken it is not known."""
    read(memory, a=row(1))
    with pytest.raises(OSError, match="gone"), memory.changing([b"a"]):
        raise OSError("gone")

    assert [row(1)] == memory.recall([b"a"])


def test_what_is_deleted_is_forgotten(memory: LastRead) -> None:
    """Deleted through this process, a row is not answered by it again."""
    read(memory, a=row(1), b=row(1))
    with memory.changing([b"a"]) as change:
        change.deleted()

    assert [None, row(1)] == memory.recall([b"a", b"b"])


@pytest.mark.parametrize("starts", ["before", "during"])
@pytest.mark.parametrize("ends", ["during", "after"])
@pytest.mark.parametrize("does", ["write", "delete"])
def test_a_read_beside_a_change_may_have_come_before_it(memory: LastRead, starts: str, ends: str, does: str) -> None:
    """A read and a change that overlap are answered in any order: of the keys of the change the change is believed."""
    read(memory, a=row(1))
    reading, change = memory.reading(), memory.changing([b"a"])
    if starts == "before":
        reading.__enter__()
    changing = change.__enter__()
    if starts == "during":
        reading.__enter__()

    def keep() -> None:
        memory.keep(reading, [b"a", b"b"], [row(1, b"old"), row(1)])
        reading.__exit__(None, None, None)

    if ends == "during":
        keep()
    if does == "write":
        changing.written([row(2)], ALL)
    else:
        changing.deleted()
    change.__exit__(None, None, None)
    if ends == "after":
        keep()

    assert [row(2) if does == "write" else None, row(1)] == memory.recall([b"a", b"b"])


def test_a_read_after_a_change_is_believed(memory: LastRead) -> None:
    """What another process has written since is seen."""
    with memory.changing([b"a"]) as change:
        change.written([row(2)], ALL)
    read(memory, a=row(3))

    assert [row(3)] == memory.recall([b"a"])


def test_what_was_not_read_for_long_is_forgotten_first() -> None:
    """What is read, or recalled, now and then stays; of the rest the oldest goes."""
    size = ROW_BYTES + 4 + len(row(1))
    memory = LastRead(20 * size)
    for number in range(200):
        read(memory, **{f"{number:4}": row(1)})
        read(memory, used=row(2))
        memory.recall([b"dear"])
        if not number:
            read(memory, dear=row(3))

    assert [row(2), row(3), row(1), None] == memory.recall([b"used", b"dear", b" 199", b"   0"])
    assert memory.size_bytes <= 21 * size


def test_without_room_nothing_is_remembered() -> None:
    """A memory of no bytes knows nothing."""
    memory = LastRead(0)
    read(memory, a=row(1))

    assert [None] == memory.recall([b"a"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write", "delete"]),
            st.lists(
                st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=8, unique_by=lambda it: it[0]
            ),
        ),
        max_size=60,
    )
)
def test_its_size_is_that_of_its_rows(steps: list[tuple[str, list[tuple[int, int]]]]) -> None:
    """Whatever is read, written and deleted, of whatever length, the bytes counted are bounded, and those that are there."""
    memory = LastRead(12 * ROW_BYTES)
    for number, (kind, items) in enumerate(steps):
        keys = [b"%04d" % key for key, _ in items]
        rows = [row(number, b"x" * length) for _, length in items]
        if kind == "read":
            with memory.reading() as reading:
                memory.keep(reading, keys, rows)
        else:
            with memory.changing(keys) as change:
                if kind == "write":
                    change.written(rows, np.ones(len(rows), np.bool_))
                else:
                    change.deleted()
        generations = [memory._young, memory._old]  # what is counted is inside
        there = sum(ROW_BYTES + len(key) + len(value) for rows in generations for key, value in rows.items())
        assert there == memory.size_bytes
        assert memory.size_bytes <= 12 * ROW_BYTES + 8 * (ROW_BYTES + 100)


def test_its_bytes_are_those_of_the_process() -> None:
    """The bound holds for the memory that is really taken, generations that are being forgotten included."""
    bound = 2 * MIB
    tracemalloc.start()
    try:
        memory = LastRead(bound)
        for start in range(0, 40_000, 50):
            keys = [b"pm:{demo/rider:%026d}:rider" % number for number in range(start, start + 50)]
            rows = [row(number, b"x" * 46) for number in range(start, start + 50)]
            with memory.reading() as reading:
                memory.keep(reading, keys, rows)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bound / 2 < taken < 1.6 * bound
