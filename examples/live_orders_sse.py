"""Live orders in the browser: server-sent events from a watch, with Starlette.

Run it with ``python examples/live_orders_sse.py [directory]`` (it needs ``pip install
starlette uvicorn``) and open http://127.0.0.1:8000 in two windows. A browser that was
disconnected sends the id of the last event it has seen; that is the update's token, so
it goes on exactly behind it, though the server was restarted meanwhile.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from aurora_actors import (
    Added,
    Aurora,
    FieldDefinition,
    FieldType,
    Heartbeat,
    HistoryLost,
    InitialComplete,
    Modified,
    Removed,
    Update,
    UsageError,
    ValidationError,
    field,
)

ORDER = {
    "dish": FieldDefinition(FieldType.STRING, nullable=False),
    "total": FieldDefinition(FieldType.INT, nullable=False),
    "status": FieldDefinition(FieldType.STRING, nullable=False),
}
PAGE = """<!doctype html><title>Orders</title>
<h1>Open orders</h1><ul id=list></ul>
<form id=form><input name=dish value=ramen><input name=total type=number value=12>
<button>Order</button></form>
<script>
const list = document.getElementById("list"), source = new EventSource("/events");
const show = order => {
  const item = document.getElementById(order.id) || document.createElement("li");
  item.id = order.id;
  item.textContent = `${order.dish} ${order.total} `;
  const button = document.createElement("button");
  button.textContent = "served";
  button.onclick = () => fetch(`/orders/${order.id}/served`, {method: "POST"});
  item.append(button);
  list.append(item);
};
source.addEventListener("put", event => show(JSON.parse(event.data)));
source.addEventListener("remove",
  event => document.getElementById(JSON.parse(event.data).id)?.remove());
source.addEventListener("reset", () => list.replaceChildren());
document.getElementById("form").onsubmit = event => {
  event.preventDefault();
  const form = new FormData(event.target);
  fetch("/orders", {method: "POST", body: JSON.stringify(
    {dish: form.get("dish"), total: Number(form.get("total"))})});
};
</script>"""


def message(event: str, update: Update, data: object = None) -> str:
    return f"event: {event}\nid: {update.token}\ndata: {json.dumps(data)}\n\n"


def as_message(update: Update) -> str:
    match update:
        case Added(document=order) | Modified(new=order):
            return message("put", update, order.to_dict())
        case Removed(document=order):
            return message("remove", update, {"id": order.id})
        case HistoryLost():
            return message("reset", update)
        case InitialComplete() | Heartbeat():
            return message("alive", update)
    raise TypeError(update)


async def events(request: Request) -> Response:
    db: Aurora = request.app.state.db
    opened = db.query("orders").filter(field("status") == "open")
    since = request.headers.get("last-event-id")
    try:
        watch = opened.watch(since=since, heartbeats=True, keeps_state=False)
    except UsageError as exc:
        return JSONResponse({"error": exc.message}, 400)

    async def stream() -> AsyncIterator[str]:
        async with watch as updates:
            async for update in updates:
                yield as_message(update)

    return StreamingResponse(stream(), media_type="text/event-stream")


async def order(request: Request) -> Response:
    body = await request.json()
    try:
        created = await request.app.state.db.insert_into(
            "orders", {**body, "status": "open"}
        )
    except ValidationError as exc:
        return JSONResponse({"error": exc.message, "path": exc.path}, 422)
    return JSONResponse({"id": created}, 201)


async def served(request: Request) -> Response:
    try:
        await request.app.state.db.update_document(
            "orders", request.path_params["id"], {"status": "served"}
        )
    except UsageError as exc:
        return JSONResponse({"error": exc.message}, 404)
    return Response(status_code=204)


async def page(_request: Request) -> Response:
    return HTMLResponse(PAGE)


def application(path: str) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with Aurora.open(path) as db:
            await db.new_collection("orders", ORDER)
            app.state.db = db
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", page),
            Route("/events", events),
            Route("/orders", order, methods=["POST"]),
            Route("/orders/{id}/served", served, methods=["POST"]),
        ],
    )


if __name__ == "__main__":
    database = sys.argv[1] if len(sys.argv) > 1 else "orders.db"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    uvicorn.run(application(database), port=port)
