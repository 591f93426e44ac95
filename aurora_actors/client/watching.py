"""Beginning a watch or a listener: from what was asked to the object the caller holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from aurora_actors.client.batch import changes_of, updates_of
from aurora_actors.client.encoding import name_of
from aurora_actors.client.handle import Handle
from aurora_actors.client.session import Session
from aurora_actors.client.updates import ChangeType
from aurora_actors.client.watch import Listener, OnLag, Watcher
from aurora_actors.errors import UsageError
from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import Listen, Watch
from aurora_actors.reactive.tokens import parse_token
from aurora_actors.schema.values import Buffer

__all__ = ["ListeningHandle", "listener_of", "watch_of", "watcher_of"]

T = TypeVar("T")

_CREDIT = 64
_encode = msgspec.msgpack.Encoder().encode


def watcher_of(
    session: Callable[[], Session],
    watch: Watch,
    result: Callable[[Buffer], T],
    model: type | None,
    on_lag: OnLag,
    *,
    heartbeats: bool,
    keeps_state: bool,
) -> Watcher[T]:
    """A watcher for a query.

    Raises:
        UsageError: ``since`` is no token.
    """
    if watch.since is not None:
        parse_token(watch.since)
    key = ("watch", _encode((watch.query, watch.debounce_s)), model)
    return Watcher(
        session,
        watch,
        updates_of(result),
        key,
        on_lag,
        heartbeats=heartbeats,
        keeps_state=keeps_state,
    )


def watch_of(
    query: QuerySpec, debounce_s: float, since: str | None, *, include_initial: bool
) -> Watch:
    """The request for a query's updates.

    Raises:
        UsageError: ``include_initial`` is no bool.
    """
    if not isinstance(include_initial, bool):
        raise UsageError(f"include_initial is True or False, not {include_initial!r}")
    return Watch(
        query=query,
        include_initial=include_initial,
        since=since,
        debounce_s=debounce_s,
        credit=_CREDIT,
    )


def listener_of(
    session: Callable[[], Session],
    collection: str | None,
    types: Iterable[ChangeType] | None,
    fields: Iterable[str] | None,
    *,
    since: str | None,
    on_lag: OnLag,
) -> Listener:
    """A listener for changes.

    Raises:
        UsageError: ``since`` is no token, a type or a field's name is none, or there
            is none of them.
    """
    if since is not None:
        parse_token(since)
    kinds = _several("types", types, ChangeType, "of ChangeType")
    request = Listen(
        collection=collection,
        kinds=sorted(kind.value for kind in kinds),
        fields=sorted(_several("fields", fields, str, "names")),
        since=since,
        credit=_CREDIT,
    )
    key = ("listen", _encode((collection, request.kinds, request.fields)))
    return Listener(session, request, changes_of, key, on_lag)


def _several(
    what: str, given: Iterable[T] | None, kind: type[T], needed: str
) -> set[T]:
    if given is None:
        return set()
    if isinstance(given, str | bytes | kind) or not isinstance(given, Iterable):
        raise UsageError(f"{what} takes several: {{{given!r}}}")
    found = list(given)
    for each in found:
        if not isinstance(each, kind):
            raise UsageError(f"{what} are {needed}, not {each!r:.80}")
    if not found:
        raise UsageError(f"{what} has none: no change would be told; leave it out")
    return set(found)


class ListeningHandle(Handle):
    """Adds to a database object what listens to it."""

    def listen(
        self,
        collection: str | type,
        *,
        types: Iterable[ChangeType] | None = None,
        fields: Iterable[str] | None = None,
        since: str | None = None,
        on_lag: OnLag = "raise",
    ) -> Listener:
        """The changes of one collection: ``async with db.listen("orders") as events``.

        Args:
            collection: A name or a model class.
            types: Only these kinds of change.
            fields: Only changes in which the value of one of these fields differs;
                dotted names reach into objects.
            since: A token: begin behind it, not with what happens from now on.
            on_lag: What happens when this consumer is slower than the changes:
                ``"raise"`` gives ``LaggedError`` when more than 4096 wait for it,
                ``"block"`` lets them wait in the change log, and gives ``LaggedError``
                when that does not reach back to them any more.

        Raises:
            UsageError: an argument makes no sense.
            InvalidFilterError: on entering, when the collection has no such field.
            CollectionNotFoundError: on entering, when there is no such collection; on
                reading, when it is removed.
        """
        name = name_of(collection)
        return listener_of(self._open, name, types, fields, since=since, on_lag=on_lag)

    def listen_all(
        self,
        *,
        types: Iterable[ChangeType] | None = None,
        since: str | None = None,
        on_lag: OnLag = "raise",
    ) -> Listener:
        """The changes of all collections, their creation and removal included."""
        return listener_of(self._open, None, types, None, since=since, on_lag=on_lag)
