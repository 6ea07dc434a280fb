"""The one writer, when things go wrong and when they go at random."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.mesh.errors import InvalidArgument, MeshError, StoreUnavailable
from services.registry.applying import plan_apply
from services.registry.catalog import Catalog, check_catalog
from services.registry.changes import Change, Event, ResourceDeleted
from services.registry.definitions import DataType, InputBinding, Resource, Route
from services.registry.deleting import plan_deletion
from services.registry.faults import Faults
from services.registry.ledger import Author, Decide, Ledger, Revision
from services.registry.newest import Newest
from services.registry.registering import plan_registration
from services.registry.stores import EventStore
from services.registry.stores.memory import MemoryEventStore
from services.registry.vetting import Waivers
from services.registry.watching import watch
from tests.support.definitions import SHA256, age, asked, endpoint, field, model, stored, version, view
from tests.support.gates import OpenGates
from tests.support.waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTHOR = Author("test")


def a_ledger(store: EventStore) -> Ledger:
    """A ledger over a log, which it has not read yet."""
    return Ledger(store, now=lambda: NOW, admit=lambda _: None, max_event_bytes=1_000_000)


def applying(*resources: Resource) -> Decide[None]:
    """Apply resources, ready or not."""

    def decide(catalog: Catalog) -> tuple[Change | None, None]:
        return plan_apply(catalog, resources, OpenGates(), Waivers(allow_unready=True)).event, None

    return decide


class Unsteady(MemoryEventStore):
    """A log whose next append fails, before or after it was written."""

    fail: str = ""

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        fail, self.fail = self.fail, ""
        if fail == "before":
            raise StoreUnavailable("the disk is full")
        await super().append(expected_revision, events)
        if fail == "after":
            raise StoreUnavailable("no word from the disk")


@pytest.mark.parametrize(
    ("actor", "reason", "field"),
    [
        ("x" * 257, "", "actor"),
        ("op", "x" * 4097, "reason"),
        ("op\x1b[2J", "", "actor"),
        ("op", "why\0", "reason"),
    ],
)
def test_who_asks_is_told_what_the_log_takes(actor: str, reason: str, field: str) -> None:
    """What is endless, or would steer the terminal of whoever reads the log, is refused."""
    with pytest.raises(InvalidArgument) as caught:
        Author.asking(actor, reason)
    assert [field] == [violation.field for violation in caught.value.violations]


def test_any_text_is_a_reason() -> None:
    """In lines, and of any alphabet."""
    reason = "schneller:\n\tp99 \u2212 10\u00a0%, \u6e2c\u5b9a" + "x" * 4000
    assert Author("zo\u00eb", reason) == Author.asking("zo\u00eb", reason)


async def test_what_could_not_be_written_is_not_shown() -> None:
    """A failed write changes nothing."""
    store = Unsteady()
    ledger = a_ledger(store)
    store.fail = "before"
    with pytest.raises(StoreUnavailable):
        await ledger.write(applying(view()), AUTHOR)
    assert ledger.newest.value.number == 0
    assert await ledger.write(applying(view()), AUTHOR) == (1, None)


async def test_a_write_that_failed_late_is_taken_up() -> None:
    """What is in the log after all is shown with the next write, never overwritten."""
    store = Unsteady()
    ledger = a_ledger(store)
    store.fail = "after"
    with pytest.raises(StoreUnavailable):
        await ledger.write(applying(view("first")), AUTHOR)
    revision, _ = await ledger.write(applying(view("second")), AUTHOR)
    assert revision == 2
    assert list(ledger.newest.value.catalog.views) == ["first", "second"]


async def test_a_caller_that_goes_leaves_no_half_change() -> None:
    """Once begun, a write is finished and shown."""

    class Slow(MemoryEventStore):
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
            self.begun.set()
            await self.go_on.wait()
            await super().append(expected_revision, events)

    store = Slow()
    ledger = a_ledger(store)
    writing = asyncio.ensure_future(ledger.write(applying(view()), AUTHOR))
    await store.begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    store.go_on.set()
    assert (await ledger.write(applying(view("next")), AUTHOR))[0] == 2
    assert ledger.newest.value.number == await store.last_revision() == 2


NUMBERS = st.sampled_from(["1.0.0", "1.1.0", "2.0.0"])
NAMES = st.sampled_from(["a", "b"])
FIELDS = (field(), field("rating"), field("city", DataType.BYTES), field("count", DataType.INT64))
VIEWS = st.builds(
    lambda name, count, age: view(name, fields=FIELDS[:count], max_age_ms=age),
    NAMES,
    st.integers(1, 4),
    st.integers(0, 2),
)
MODELS = st.builds(
    lambda name, aliases: replace(model(name), aliases=aliases), NAMES, st.dictionaries(NAMES, NUMBERS, max_size=2)
)
ROUTES = st.one_of(st.builds(Route, version=NUMBERS), st.builds(lambda alias: Route(alias=alias), NAMES))
ENDPOINTS = st.builds(lambda name, of, route: endpoint(name, model=of, route=route), NAMES, NAMES, ROUTES)
RESOURCES = st.lists(
    st.one_of(VIEWS, MODELS, ENDPOINTS), min_size=1, max_size=3, unique_by=lambda each: (type(each), each.name)
)
DELETIONS = st.one_of(
    st.builds(ResourceDeleted, st.sampled_from(["feature_view", "model", "endpoint"]), NAMES),
    st.builds(ResourceDeleted, st.just("version"), NAMES, NUMBERS),
)


def registering(name: str, number: str, reads: str) -> Decide[None]:
    """Register a version of a model that reads a view."""
    binding = InputBinding("x", (stored("trips", reads), age(reads), asked("hour"), asked("day")))
    given_version = version(number, bindings=(binding,))

    def decide(catalog: Catalog) -> tuple[Change | None, None]:
        return plan_registration(catalog, name, given_version, {SHA256: 20}, NOW).event, None

    return decide


def deleting(target: ResourceDeleted) -> Decide[None]:
    """Delete a resource."""
    return lambda catalog: (plan_deletion(catalog, target), None)


ACTS = st.one_of(
    st.builds(lambda resources: applying(*resources), RESOURCES),
    st.builds(registering, NAMES, NUMBERS, NAMES),
    st.builds(deleting, DELETIONS),
)
# Of what stands at the beginning, enough is allowed for histories to go on.
BEGINNING = (
    applying(view("a"), view("b"), model("a"), model("b")),
    registering("a", "1.0.0", "a"),
    registering("b", "1.1.0", "b"),
    applying(model("a", a="1.0.0"), endpoint("a", model="a", route=Route(alias="a"))),
)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(ACTS, min_size=15, max_size=30), st.lists(st.integers(0, 3), min_size=3, max_size=3))
async def test_whatever_happens_the_log_is_what_is_shown(acts: list[Decide[None]], paces: list[int]) -> None:
    """After any history the log rebuilds the definitions, these are valid, and every watcher ends at them."""
    store = MemoryEventStore()
    ledger = a_ledger(store)
    async with watchers(ledger.newest, paces) as held:
        shown = await history(ledger, [*BEGINNING, *acts])
        await eventually(lambda: set(map(id, held)) == {id(ledger.newest.value)})
    await check_rebuilt(store, ledger.newest.value)
    check_schema_numbers(shown)
    for revision in shown:
        faults = Faults()
        check_catalog(revision.catalog, faults)
        assert faults.descriptions == []


async def history(ledger: Ledger, acts: Sequence[Decide[None]]) -> list[Revision]:
    """Make the acts, and answer every revision that was shown: each one event on from the last."""
    shown = [ledger.newest.value]
    for act in acts:
        try:
            await ledger.write(act, AUTHOR)
        except MeshError:
            assert ledger.newest.value is shown[-1]
        if ledger.newest.value is not shown[-1]:
            shown.append(ledger.newest.value)
    assert [revision.number for revision in shown] == list(range(len(shown)))
    assert len(shown) > len(BEGINNING)
    return shown


async def check_rebuilt(store: EventStore, shown: Revision) -> None:
    """The log, and a copy of it, amount to what is shown."""
    rebuilt, copy = a_ledger(store), a_ledger(MemoryEventStore())
    await rebuilt.open()
    assert rebuilt.newest.value == shown
    await copy.load(await store.read(0, 1000))
    assert copy.newest.value.catalog == shown.catalog


@asynccontextmanager
async def watchers(newest: Newest[Revision], paces: Sequence[int]) -> AsyncIterator[list[Revision | None]]:
    """What each of some watchers holds, where one lets the loop turn `pace` times before it looks again."""
    held: list[Revision | None] = [None] * len(paces)

    async def follow(place: int) -> None:
        async for revision in watch(newest, "", 0, 3600):
            held[place] = revision
            for _ in range(paces[place]):
                await asyncio.sleep(0)

    following = [asyncio.ensure_future(follow(place)) for place in range(len(paces))]
    yield held
    newest.close()
    await asyncio.gather(*following)


def check_schema_numbers(shown: list[Revision]) -> None:
    """Each number ever given names one list of fields."""
    meant: dict[int, tuple[str, tuple[str, ...]]] = {}
    for revision in shown:
        for each in revision.catalog.views.values():
            for schema in each.schemas:
                names = (each.name, tuple(field.name for field in each.fields[: schema.field_count]))
                assert meant.setdefault(schema.id, names) == names
