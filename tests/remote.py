"""A database with a remote gateway, and a network between it and its clients."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from aurora_supervisor.certificates import Made, make_certificate

from aurora_actors import ActorStatus, Aurora, blocking
from aurora_actors.config import RemoteConfig


class Served:
    """A tree that serves remote clients, and the names of what they need."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.made: Made = make_certificate(
            directory / "tls", ["localhost", "127.0.0.1"], 2
        )
        remote = RemoteConfig(
            port=0,
            tls_certificate=self.made.certificate,
            tls_key=self.made.key,
            **settings,
        )
        self.db = blocking.open(
            directory / "served.db",
            remote=remote,
            query_executors=1,
            heartbeat_interval_ms=50,
        )
        self.db.__enter__()
        self.token = self.db.create_token("everything", "admin")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.actor("remote_gateway").values["port"])

    @property
    def url(self) -> str:
        """Its address."""
        return f"tls+tcp://localhost:{self.port}"

    def actor(self, name: str) -> ActorStatus:
        """One process of the tree."""
        return next(a for a in self.db.status().actors if a.name == name)

    def connect(self, url: str = "", token: str = "") -> Aurora:
        """A remote client for event loops."""
        return Aurora.connect(
            url or self.url, token=token or self.token, ca=self.made.certificate
        )

    def connect_blocking(self, url: str = "", token: str = "") -> blocking.Aurora:
        """A remote client for threads."""
        return blocking.connect(
            url or self.url, token=token or self.token, ca=self.made.certificate
        )

    def close(self) -> None:
        """End the tree."""
        self.db.close()


class Network:
    """A TCP relay whose lines can be cut, and which can refuse new ones."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.is_up = True
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of this end."""
        return f"tls+tcp://localhost:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_up:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
                self.accepted += 1
            for source, target in ((near, far), (far, near)):
                threading.Thread(
                    target=self._relay, args=(source, target), daemon=True
                ).start()

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lead_to(self, port: int) -> bool:
        """Lead new lines to another port."""
        self._to = port
        return True

    def cut(self) -> None:
        """End all lines."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut()
