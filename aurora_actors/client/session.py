"""What an open database consists of on the client's side.

A :class:`Session` joins the shell, which asks the actors, and the reader, which sees
the data itself; the public classes are written over it. It belongs to the process and
the loop or threads that opened it.
"""

from __future__ import annotations

import secrets

from aurora_actors.client.aql_local import LocalTexts
from aurora_actors.client.lookup import Lookup
from aurora_actors.client.shell import Shell
from aurora_actors.client.transaction_state import TransactionSpace
from aurora_actors.config import AuroraConfig
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.storage.reader import DataReader

__all__ = ["Session", "new_client_name"]

_CLOSE_MARGIN_S = 5.0


def new_client_name() -> str:
    """A mailbox name that nobody else has."""
    return f"c-{secrets.token_hex(8)}"


class Session:
    """The parts of one open database.

    Attributes:
        cancel_point: As the shell's.
        shell: Asks the actors.
        reader: Reads the data in this process.
        config: The settings in force.
        index: Reads indexes in this process.
        lookup: Runs short plans in this process.
        texts: The AQL texts that this process answers.
        transactions: Begins transactions in this process.
    """

    __slots__ = (
        "cancel_point",
        "config",
        "index",
        "lookup",
        "reader",
        "shell",
        "texts",
        "transactions",
    )

    def __init__(self, shell: Shell, reader: DataReader, config: AuroraConfig) -> None:
        self.cancel_point = shell.cancel_point
        self.shell = shell
        self.reader = reader
        self.config = config
        self.index = IndexReader.open(
            config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
        )
        self.lookup = Lookup(reader, self.index)
        self.texts = LocalTexts()
        self.transactions = TransactionSpace(reader, config)

    async def close(self) -> None:
        """Leave the tree, wait for its end if we were the last, free everything."""
        self.transactions.close()
        try:
            await self.shell.close(self.config.shutdown_grace_s + _CLOSE_MARGIN_S)
        finally:
            self.index.close()
            self.reader.close()
