"""Remembered outcomes: what makes a repeated request harmless.

A request is named by its sender and the number the sender gave it. Its reply, a refusal
included, is kept in ``requests`` in the transaction that has its effect, and found
there when the request comes again: after a restart of storage, or from the network
twice. The sender's ``floor`` says which numbers will never be asked again; what lies
below is deleted lazily. All is forgotten when another run of the tree begins, because
no sender of the old one is left. Kept in memory as well; storage process only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import StorageReply
from aurora_actors.storage.environment import Table, Transaction
from aurora_actors.storage.layout import META_TREE, request_prefix, unpack_request_key

__all__ = ["Outcomes", "encode_reply"]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(
    StorageReply
)
_PRUNE_AT: Final = 64
_number: Final = struct.Struct(">Q").pack

encode_reply = _encoder.encode


class Outcomes:
    """The remembered outcomes of all clients."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, Message]] = {}
        self._prune_at: dict[str, int] = {}
        self._prefixes: dict[str, bytes] = {}
        self._staged: dict[tuple[str, int], Message] = {}
        self._puts: list[tuple[bytes, bytes]] = []
        self._stale: list[bytes] = []

    @classmethod
    def load(cls, txn: Transaction, table: Table) -> Outcomes:
        """Read what ``requests`` holds."""
        outcomes = cls()
        for key, value in txn.cursor(table):
            client, request_id = unpack_request_key(bytes(key))
            outcomes._remember(client, request_id, _decoder.decode(value))
        return outcomes

    def _remember(self, client: str, request_id: int, reply: Message) -> None:
        known = self._known.get(client)
        if known is None:
            known = self._known[client] = {}
        known[request_id] = reply

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def find(self, client: str, request_id: int) -> Message | None:
        """The reply that this request got, in this batch or before."""
        known = self._known.get(client)
        reply = known.get(request_id) if known else None
        return reply or self._staged.get((client, request_id))

    def stage(self, client: str, request_id: int, reply: Message) -> bytes:
        """Take a reply of the present batch; returns it encoded.

        Request id 0 asks for no reply and is not remembered.
        """
        encoded = encode_reply(reply)
        if request_id:
            self._staged[client, request_id] = reply
            key = self._prefix(client) + _number(request_id)
            self._puts.append((key, encoded))
        return encoded

    def _prefix(self, client: str) -> bytes:
        prefix = self._prefixes.get(client)
        if prefix is None:
            prefix = self._prefixes[client] = request_prefix(client)
        return prefix

    def _keys(self, client: str, request_ids: Iterable[int]) -> list[bytes]:
        prefix = self._prefix(client)
        return [prefix + _number(request_id) for request_id in request_ids]

    def restore(self, client: str, request_id: int, encoded: bytes) -> None:
        """Take a reply from the log."""
        self.stage(client, request_id, _decoder.decode(encoded))

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._puts or self._stale)

    def flush(self, txn: Transaction, table: Table) -> None:
        """Write what was staged, and delete what is stale."""
        if self._stale:
            for key in sorted(self._stale):
                txn.delete(key, b"", table)
        if len(self._puts) < 4:
            for key, value in self._puts:
                txn.put(key, value, True, True, False, table)
        else:
            txn.cursor(table).putmulti(sorted(self._puts))

    def committed(self) -> None:
        """The transaction of the last flush is committed."""
        for (client, request_id), reply in self._staged.items():
            self._remember(client, request_id, reply)
        self._stale.clear()
        self.aborted()

    def aborted(self) -> None:
        """The batch came to nothing."""
        self._staged.clear()
        self._puts.clear()

    def raise_floor(self, client: str, floor: int) -> None:
        """Forget what lies below the client's lowest request without a reply.

        Done when twice as much is known as was left the last time, so that it costs
        a constant for each request.
        """
        known = self._known.get(client)
        if known is None or len(known) < self._prune_at.get(client, _PRUNE_AT):
            return
        old = [request_id for request_id in known if request_id < floor]
        for request_id in old:
            del known[request_id]
        self._stale += self._keys(client, old)
        self._prune_at[client] = max(_PRUNE_AT, 2 * len(known))

    def forget_client(self, client: str) -> None:
        """Forget all of a client that is gone."""
        known = self._known.pop(client, {})
        self._prune_at.pop(client, None)
        self._stale += self._keys(client, known)
        self._prefixes.pop(client, None)

    def begin_tree(
        self, txn: Transaction, meta: Table, requests: Table, tree_id: str
    ) -> bool:
        """Forget everything unless it belongs to this run of the tree.

        Returns:
            Whether another run of the tree begins.
        """
        stored = txn.get(META_TREE, db=meta)
        is_new = stored is None or bytes(stored) != tree_id.encode()
        if is_new:
            txn.drop(requests, delete=False)
            txn.put(META_TREE, tree_id.encode(), db=meta)
            self._known.clear()
            self._prefixes.clear()
            self._prune_at.clear()
            self._stale.clear()
            self.aborted()
        return is_new
