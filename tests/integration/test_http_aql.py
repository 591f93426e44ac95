"""AQL, schemas, indexes and tokens over HTTP, and what each role may do with them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from served import Served, events_of, port_of, problem, serving, take

from aurora_actors import HttpConfig, blocking

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("http") / "data.db") as served:
        yield served


def aql(client: httpx.Client, text: str, **more: object) -> httpx.Response:
    return client.post("/aql", json={"query": text, **more})


def insert(name: str, *people: dict[str, object]) -> dict[str, object]:
    text = f'mutation {{ insertMany(collection: "{name}", data: $people) {{ id }} }}'
    return {"query": text, "variables": {"people": list(people)}}


# ------------------------------------------------------------------ texts
def test_a_text_has_variables_and_gives_every_result_by_its_name(served: Served):
    served.collection("asked")
    people = [
        {"id": "a", "name": "Ann", "age": 41, "born": "1985-02-01T10:00:00Z"},
        {"id": "b", "name": "Bob", "age": 20},
    ]
    made = served.http.post("/aql", json=insert("asked", *people))
    assert made.json()["data"] == {"insertMany": [{"id": "a"}, {"id": "b"}]}
    assert made.json()["results"][0]["affected_count"] == 2

    text = """query($min: Int) {
      old: asked(where: {age: {gt: $min}}) { id born }
      asked { aggregate { count sum(field: "age") } }
    }"""
    found = aql(served.http, text, variables={"min": 30}).json()
    assert found["data"] == {
        "old": [{"id": "a", "born": "1985-02-01T10:00:00Z"}],
        "asked": {"aggregate": {"count": 2, "sum": 61}},
    }
    assert [(r["name"], r["type"]) for r in found["results"]] == [
        ("old", "query"),
        ("asked", "query"),
    ]
    twice = aql(served.http, "{ asked { id } } { asked { name } }").json()["data"]
    assert set(twice) == {"asked", "asked_2"}


def test_explain_gives_the_plan_instead(served: Served):
    served.collection("explained")
    text = "{ explained(where: {age: {gt: 3}}) { id } }"
    (plan,) = aql(served.http, text, explain=True).json()["plans"]
    assert plan["collection"] == "explained"
    assert plan["access"] in {"index", "document_scan"}
    assert plan["steps"]
    problem(
        aql(
            served.http,
            'mutation { deleteFrom(collection: "x", all: true) }',
            explain=True,
        ),
        400,
        "usage",
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"query": "{ users("}, 400, "data.query_syntax"),
        ({"query": "{ nobody { id } }"}, 422, "data.query_validation"),
        ({"query": "subscription { users { id } }"}, 422, "data.query_validation"),
        ({"query": "{" * 200}, 413, "data.limit_exceeded"),
        ({"query": 7}, 422, "http.422"),
        ({"quary": "{ a { id } }"}, 422, "http.422"),
        ({"query": "{ a { id } }", "variables": []}, 422, "http.422"),
        ([], 400, "http.400"),
    ],
)
def test_texts_that_make_no_sense_are_refused_with_their_place(
    served: Served, body: object, status: int, code: str
):
    failure = problem(served.http.post("/aql", json=body), status, code)
    if code == "data.query_syntax":
        assert failure["context"]["line"] == 1  # type: ignore[index]


def test_a_text_takes_no_idempotency_key(served: Served):
    header = {"Idempotency-Key": "k"}
    refused = served.http.post("/aql", json={"query": "{ a { id } }"}, headers=header)
    problem(refused, 400, "http.400")


def test_what_a_text_touches_decides_who_may_send_it(served: Served):
    served.collection("open_to_all")
    served.collection("closed")
    rules = {"closed": "none"}
    read = "{ open_to_all { id } }"
    write = (
        'mutation { insertInto(collection: "open_to_all", data: {name: "n"}) { id } }'
    )
    secret = "{ open_to_all { id } more: closed { id } }"
    define = "schema { define collection theirs @open {} }"
    tokens = "{ _sys_tokens { id } }"
    known = "{ __schema { collections { name } } }"
    allowed = {
        "read": [read],
        "write": [read, write],
    }
    for role, texts in allowed.items():
        token = served.db.create_token(f"aql_{role}", role, collections=rules)
        with served.client(token) as client:
            for text in (read, write, secret, define, tokens, known):
                answered = aql(client, text)
                if text in texts:
                    assert answered.status_code == 200, answered.text
                else:
                    problem(answered, 403, "permission_denied")
    narrow = served.db.create_token(
        "aql_narrow", "none", collections={"closed": "read"}
    )
    with served.client(narrow) as client:
        assert aql(client, "{ closed { id } }").status_code == 200
        problem(aql(client, read), 403, "permission_denied")
        problem(client.get("/tree"), 403, "permission_denied")
        problem(client.get("/metrics"), 403, "permission_denied")


# ------------------------------------------------------------------ subscriptions
def test_a_subscription_streams_and_resumes(served: Served):
    served.collection("orders")
    text = "subscription { orders(where: {age: {gte: 10}}) { name } }"
    with served.http.stream("GET", "/aql/events", params={"query": text}) as response:
        events = events_of(response)
        assert next(events)[0] == "open"
        served.db.insert_into("orders", {"id": "a", "name": "A", "age": 12})
        kind, token, body = next(events)
        assert (kind, body["id"], body["data"]) == ("insert", "a", {"name": "A"})
    served.db.update_document("orders", "a", {"name": "B"})
    served.db.update_document("orders", "a", {"age": 2})
    with served.http.stream(
        "GET", "/aql/events", params={"query": text}, headers={"Last-Event-ID": token}
    ) as response:
        events = events_of(response)
        assert next(events)[0] == "open"
        assert next(events)[0] in {"update", "delete"}


def test_a_websocket_carries_subscriptions(served: Served):
    served.collection("watched_by_text")
    served.db.insert_into("watched_by_text", {"id": "a", "name": "A", "age": 1})
    text = (
        "subscription($min: Int) @live "
        "{ watched_by_text(where: {age: {gte: $min}}) { name } }"
    )
    with served.socket() as connection:
        frame = {"op": "subscribe", "stream": "s", "query": text}
        connection.send(json.dumps({**frame, "variables": {"min": 1}}))
        added = take(connection)
        assert (added["type"], added["document"]) == ("added", {"id": "a", "name": "A"})
        assert take(connection)["type"] == "initial_complete"
        served.db.delete_document("watched_by_text", "a")
        assert take(connection)["type"] == "removed"
        connection.send(json.dumps({**frame, "stream": "t", "query": "subscription {"}))
        assert take(connection)["code"] == "data.query_syntax"


# ------------------------------------------------------------------ schemas
def test_a_collection_is_altered_and_indexed(served: Served):
    path = served.collection("altered")
    served.db.insert_into("altered", {"id": "a", "name": "A", "age": 3})
    changes = {
        "add": {
            "role": {"type": "String", "nullable": False, "default": 'a "member"'},
            "place": {"type": {"x": {"type": "Float"}}},
        },
        "modify": {"age": {"type": "Float", "indexed": True}},
        "rename": {"name": "title"},
        "drop": ["key"],
    }
    altered = served.http.patch(path, json=changes)
    assert altered.status_code == 200, altered.text
    fields = altered.json()["fields"]
    assert (fields["age"]["type"], "key" in fields) == ("Float", False)
    stored = served.db.get_document("altered", "a")
    assert stored is not None
    assert stored.data == {"title": "A", "age": 3.0, "role": 'a "member"'}

    made = served.http.post(f"{path}/indexes", json={"fields": ["role", "age"]})
    again = served.http.post(f"{path}/indexes", json={"fields": ["role", "age"]})
    assert (made.status_code, again.status_code) == (201, 200)
    indexes = served.http.get(f"{path}/indexes").json()["indexes"]
    assert ["role", "age"] in [index["fields"] for index in indexes]
    assert served.http.delete(f"{path}/indexes/role,age").status_code == 204
    problem(served.http.delete(f"{path}/indexes/role,age"), 404, "usage.not_found")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({}, 422, "data.validation"),
        ({"drop": ["x } } schema { drop collection refused"]}, 422, "data.validation"),
        ({"rename": {"name": "a b"}}, 422, "data.validation"),
        ({"add": {"x": {"type": "Strin"}}}, 422, "data.validation"),
        ({"add": {"x": {"type": "Int", "default": "y"}}}, 422, "data.query_validation"),
        ({"drop": "name"}, 422, "http.422"),
        ({"forget": ["name"]}, 422, "http.422"),
    ],
)
def test_changes_that_make_no_sense_change_nothing(
    served: Served, changes: dict[str, object], status: int, code: str
):
    served.http.post("/collections", json={"name": "refused", "open": True})
    before = served.http.get("/collections/refused").json()
    problem(served.http.patch("/collections/refused", json=changes), status, code)
    assert served.http.get("/collections/refused").json() == before


# ------------------------------------------------------------------ tokens
def test_administrators_make_and_revoke_tokens(served: Served):
    wanted = {"name": "made", "role": "read", "collections": {"c": "write"}}
    made = served.http.post("/tokens", json=wanted)
    assert made.status_code == 201
    with served.client(made.json()["token"]) as client:
        assert client.get("/whoami").json() == {
            "name": "made",
            "role": "read",
            "collections": {"c": "write"},
        }
        problem(client.get("/tokens"), 403, "permission_denied")
        problem(client.post("/tokens", json=wanted), 403, "permission_denied")
        listed = served.http.get("/tokens")
        assert "made" in [token["name"] for token in listed.json()["tokens"]]
        assert "hash" not in listed.text
        assert served.http.delete("/tokens/made").status_code == 204
        problem(client.get("/whoami"), 401, "http.401")
    problem(served.http.delete("/tokens/made"), 404, "usage.not_found")
    problem(served.http.post("/tokens", json={"name": "a b"}), 400, "usage")
    problem(served.http.post("/tokens", json={"nam": "a"}), 422, "http.422")


# ------------------------------------------------------------------ beginning
def test_the_first_request_waits_for_the_tree_rather_than_fail(tmp_path):
    http = HttpConfig(port=0)
    with blocking.open(tmp_path / "first.db", query_executors=1, http=http) as db:
        token = db.create_token("t", "admin")
        base = f"http://127.0.0.1:{port_of(db)}"
        headers = {"Authorization": f"Bearer {token}"}
        made = httpx.post(
            f"{base}/collections",
            json={"name": "a", "open": True},
            headers=headers,
            timeout=60,
        )
        assert made.status_code == 201, made.text
