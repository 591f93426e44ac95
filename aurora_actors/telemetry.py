"""Traces of requests through the processes, for OpenTelemetry (extra ``otel``).

Nothing about traces is on the wire. A request is named by its client and its number, in
every process that has to do with it; from that name the trace's id and the ids of its
spans follow, so that each process can tell its part alone and the parts fit together::

    client            the whole request, in the application
      query_executor  the run of a query or text
        storage       the commit

The trace begins with the database's own request. If the application has a span of its own
at that moment, the two are linked. Where a process of the tree asks on behalf of others,
the trace begins with what it was asked::

    gateway           a request over HTTP, and below it the client's request
    client            the request of a remote client, told by its gateway

A request over HTTP is in the trace of the first request that it gives rise to; further
ones have traces of their own, linked to it.

Spans go to an OTLP collector by HTTP, in batches, from a thread of each process; when
nobody is there they are dropped. Without a ``[telemetry]`` table there is no thread, and
the library is not imported.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from aurora_actors.config import TelemetryConfig
from aurora_actors.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.trace import Link

__all__ = ["Around", "RequestTrace", "Tracer", "around", "span_id", "trace_id"]

_SERVICE: Final = "aurora-actors"
_FLUSH_MS: Final = 2_000
_DELAY_MS: Final = 500
_MOST_OPEN: Final = 10_000
_SAMPLED: Final = 1
_GATEWAY: Final = "gateway"
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}"
)


class Around:
    """What a process does for somebody, with requests of its own.

    Attributes:
        request: The first of these, as the client's name and the number.
    """

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request: tuple[str, int] | None = None


_around: ContextVar[Around | None] = ContextVar("around", default=None)


@contextmanager
def around() -> Iterator[Around]:
    """The requests that are made inside belong together."""
    found = Around()
    token = _around.set(found)
    try:
        yield found
    finally:
        _around.reset(token)


def trace_id(client: str, number: int) -> int:
    """The id of the trace of one request: 128 bits, never 0."""
    name = f"{client}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "big") or 1


def span_id(client: str, number: int, place: str) -> int:
    """The id of one process's part of a request: 64 bits, never 0."""
    name = f"{client}/{number}/{place}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") or 1


class _NextIds:
    """Gives the ids that were set before."""

    trace = span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span

    def is_trace_id_random(self) -> bool:
        return True


class Tracer:
    """Tells the spans of one process; for one thread at a time.

    Args:
        settings: Where to, and how much.
        process: What the process is called.

    Raises:
        ConfigError: the extra ``otel`` is not installed.
    """

    def __init__(self, settings: TelemetryConfig, process: str) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 - an extra
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
                BatchSpanProcessor,
            )
        except ImportError as exc:
            raise ConfigError(
                'traces need the extra otel: pip install "aurora-actors[otel]"',
                key="telemetry",
            ) from exc
        self._trace = trace
        self._served = 0
        self._name = f"{process}/{os.getpid()}/{time.time_ns()}"
        self._ids = _NextIds()
        self._most = int(settings.sample * (1 << 64))
        resource = Resource.create(
            {"service.name": _SERVICE, "service.instance.id": process}
        )
        self._provider = TracerProvider(
            id_generator=self._ids,  # type: ignore[arg-type]  # what it asks for is there
            resource=resource,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=settings.endpoint, timeout=5),
                schedule_delay_millis=_DELAY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("aurora_actors")

    def span(
        self,
        request: tuple[str, int],
        place: str,
        parent: str,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int | float | bool],
        *,
        error: str = "",
        links: list[Link] | None = None,
        serves: bool = False,
    ) -> None:
        """Tell one part of a request, which ends now.

        Args:
            request: The client and the number.
            place: Which part it is.
            parent: Of which other part it is a part; of none if empty.
            name: What is done.
            seconds: How long it took.
            attributes: What else there is to say.
            error: The code of the error it ended with.
            links: Spans it has to do with.
            serves: It answers somebody outside.
        """
        found = trace_id(*request)
        if found & ((1 << 64) - 1) > self._most:
            return
        trace = self._trace
        context = None
        if parent:
            above = trace.SpanContext(
                found,
                span_id(*request, parent),
                is_remote=True,
                trace_flags=trace.TraceFlags(_SAMPLED),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(above))
        else:
            context = trace.set_span_in_context(trace.INVALID_SPAN)
        self._ids.trace, self._ids.span = found, span_id(*request, place)
        end = time.time_ns()
        span = self._tracer.start_span(
            name,
            context=context,
            attributes=dict(attributes),
            links=links,
            kind=trace.SpanKind.SERVER if serves else trace.SpanKind.INTERNAL,
            start_time=end - int(seconds * 1e9),
        )
        if error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, error))
        span.end(end_time=end)

    def served(
        self,
        what: Around,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int | float | bool],
        *,
        error: str = "",
        caller: str = "",
    ) -> None:
        """Tell what was done for somebody outside.

        Args:
            what: The work, with its first request.
            name: What is done.
            seconds: How long it took.
            attributes: What else there is to say.
            error: The code of the error it ended with.
            caller: The header ``traceparent`` of who has asked; it is linked.
        """
        if what.request is None:
            self._served += 1
            what.request = (self._name, self._served)
        found = _TRACEPARENT.fullmatch(caller)
        links = (
            [] if found is None else [self._link(int(found[1], 16), int(found[2], 16))]
        )
        self.span(
            what.request, _GATEWAY, "", name, seconds, attributes,
            error=error, links=links, serves=True,
        )  # fmt: skip

    def link_to(self, request: tuple[str, int]) -> Link:
        """A link to the span of what was done around a request."""
        return self._link(trace_id(*request), span_id(*request, _GATEWAY))

    def _link(self, trace: int, span: int) -> Link:
        flags = self._trace.TraceFlags(_SAMPLED)
        context = self._trace.SpanContext(
            trace, span, is_remote=True, trace_flags=flags
        )
        return self._trace.Link(context)

    def present(self) -> list[Link]:
        """A link to the span that the application is in, if it is in one."""
        if "opentelemetry.trace" not in sys.modules:
            return []
        context = self._trace.get_current_span().get_span_context()
        return [self._trace.Link(context)] if context.is_valid else []

    def close(self) -> None:
        """Send what is left, for which a moment is taken."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()


class RequestTrace:
    """The spans of a client's requests; used by its protocol.

    Args:
        tracer: Tells them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[int, tuple[float, list[Any], Around | None]] = {}
        self.close = tracer.close

    def began(self, client: str, number: int) -> None:
        """A request has got its number."""
        if len(self._open) >= _MOST_OPEN:
            self._open.clear()
        what = _around.get()
        if what is not None and what.request is None:
            what.request = (client, number)
        self._open[number] = (time.monotonic(), self._tracer.present(), what)

    def ended(
        self, client: str, number: int, destination: str, name: str, error: str
    ) -> None:
        """A request was answered, or given up."""
        found = self._open.pop(number, None)
        if found is not None:
            begun, links, what = found
            is_first = what is not None and what.request == (client, number)
            if what is not None and what.request is not None and not is_first:
                links.append(self._tracer.link_to(what.request))
            self._tracer.span(
                (client, number),
                "client",
                _GATEWAY if is_first else "",
                name,
                time.monotonic() - begun,
                {"aurora.actor": destination, "aurora.request": number},
                error=error,
                links=links,
            )
