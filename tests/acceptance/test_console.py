"""The console in a real browser: what people do with it, and that anybody can.

Needs Chromium, which continuous integration installs; no browser is downloaded.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import job_handlers
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright
from served import Served, serving
from support import wait_until

from aurora_actors import Job, JobFailedError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="a browser cannot be had from PyPI; .ci/run installs chromium",
    ),
]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 60_000
VIEWS = [
    "collections", "collections/people", "collections/people/schema",
    "collections/people/indexes", "query", "live/people", "jobs", "system",
]  # fmt: skip

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("console") / "data.db") as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=2 * PATIENCE_MS
        )
        yield browser
        browser.close()


class Visit:
    """A page of a fresh profile, and what went wrong in it."""

    def __init__(self, browser: Browser, served: Served, **options: object) -> None:
        self._context = browser.new_context(**options)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.base = f"{served.url}/console/"
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._told)
        self.page.on("request", lambda request: self._asked(request.url, served.url))

    def _told(self, message) -> None:
        # A refused request is told by the browser, too; that is what the test wants.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _asked(self, url: str, ours: str) -> None:
        if not url.startswith((ours, "data:")):
            self.elsewhere.append(url)

    def log_in(self, token: str) -> Page:
        self.page.goto(self.base)
        self.page.get_by_label("Token", exact=True).fill(token)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", name="Collections")).to_be_visible()
        return self.page

    def view(self, name: str) -> None:
        self.page.goto(f"{self.base}#/{name}")

    def close(self) -> None:
        self._context.close()
        assert not self.faults
        assert not self.elsewhere


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    visit = Visit(browser, served, viewport={"width": 1280, "height": 800})
    yield visit
    visit.close()


@pytest.fixture(scope="module")
def people(served: Served) -> None:
    """A collection with a few documents."""
    served.collection("people")
    served.db.insert_many(
        "people",
        [
            {"id": f"p{n:02}", "name": f"Person {n}", "age": n, "tags": ["a", "b"]}
            for n in range(30)
        ],
    )


# ------------------------------------------------------------------ log-in
def test_a_wrong_token_is_refused_and_a_revoked_one_ends_the_session(
    visit: Visit, served: Served
):
    page = visit.page
    page.goto(served.url)
    page.get_by_label("Token", exact=True).fill("aur.admin.wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong, revoked or over")
    visit.log_in(served.db.create_token("short", "read"))
    expect(page.get_by_role("button", name="New collection")).to_have_count(0)
    served.db.revoke_token("short")
    visit.view("query")
    expect(page.get_by_text("The token is not valid any more")).to_be_visible()


# ------------------------------------------------------------------ documents
def test_a_collection_is_made_and_a_document_inserted_by_form(
    visit: Visit, served: Served
):
    page = visit.log_in(served.token)
    page.get_by_role("button", name="New collection").click()
    made = page.get_by_role("dialog", name="New collection")
    made.get_by_label("Name", exact=True).fill("books")
    made.get_by_label("Name of field 1").fill("title")
    made.get_by_label("required").check()
    made.get_by_role("button", name="Add field").click()
    made.get_by_label("Name of field 2").fill("pages")
    made.get_by_label("Type of field 2").select_option("Int")
    made.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="books")).to_be_visible()
    assert str(served.db.collection_definition("books").fields["pages"]) == "Int"

    page.get_by_role("button", name="New document").click()
    form = page.get_by_role("dialog", name="New document in books")
    form.get_by_label("id").fill("dune")
    form.get_by_label("title").fill("Dune")
    form.get_by_label("pages").fill("many")
    form.get_by_role("button", name="Insert").click()
    expect(form.get_by_role("alert")).to_contain_text("pages: this is no valid value")
    form.get_by_label("pages").fill("9007199254740993")
    form.get_by_role("button", name="Insert").click()
    expect(page.get_by_role("row", name="Document dune")).to_be_visible()
    stored = served.db.get_document("books", "dune")
    assert stored is not None
    assert stored.data == {"title": "Dune", "pages": 9007199254740993}

    page.get_by_role("row", name="Document dune").press("Enter")
    editor = page.get_by_role("dialog", name="Document dune")
    editor.get_by_role("button", name="JSON").click()
    served.db.update_document("books", "dune", {"pages": 7})
    editor.get_by_label("Document as JSON").fill('{"title": "Dune II"}')
    editor.get_by_role("button", name="Save").click()
    expect(editor.get_by_role("alert")).to_contain_text("changed this document")
    page.keyboard.press("Escape")
    page.get_by_role("row", name="Document dune").click()
    editor.get_by_label("title").fill("Dune II")
    editor.get_by_role("button", name="Save").click()
    expect(page.get_by_role("cell", name="Dune II")).to_be_visible()
    stored = served.db.get_document("books", "dune")
    assert stored is not None
    assert stored.data == {"title": "Dune II", "pages": 7}


def test_documents_are_filtered_sorted_and_paged(
    visit: Visit, served: Served, people: None
):
    page = visit.log_in(served.token)
    visit.view("collections/people")
    rows = page.get_by_role("row", name=re.compile("^Document "))
    expect(rows).to_have_count(25)
    page.get_by_role("button", name="Next").click()
    expect(rows).to_have_count(5)
    expect(page.get_by_text("26–30 of 30")).to_be_visible()
    # The first answer comes after the second, which is the one that counts.
    ascending = re.compile(r"/docs\?.*order=age$")
    late: list[Route] = []
    page.route(ascending, lambda route: late.append(route))  # noqa: PLW0108 - it is marked, as a built-in method cannot be
    with page.expect_request(ascending):
        page.get_by_role("button", name="age").click()
    page.get_by_role("button", name="age").click()
    expect(rows.first).to_have_accessible_name("Document p29")
    (held,) = late
    with page.expect_response(ascending) as answered:
        held.continue_()
    answered.value.finished()
    page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    expect(rows.first).to_have_accessible_name("Document p29")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Field", exact=True).fill("age")
    page.get_by_label("Comparison").select_option("gte")
    page.get_by_label("Value", exact=True).fill("27")
    page.keyboard.press("Tab")
    expect(rows).to_have_count(3)


# ------------------------------------------------------------------ AQL
def _query_view(visit: Visit) -> Locator:
    """The text of the query view, when its example has been filled in.

    Until then, what a test puts in its place in two steps, mark and replace, may find
    nothing marked any more.
    """
    visit.view("query")
    text = visit.page.get_by_label("AQL text")
    expect(text).to_have_value(re.compile(r"\(limit: 20\)"))
    return text


def test_a_text_is_completed_run_and_explained(
    visit: Visit, served: Served, people: None
):
    page = visit.log_in(served.token)
    text = _query_view(visit)
    text.fill("")
    text.press_sequentially("{ peo")
    expect(page.get_by_role("option", name="people")).to_be_visible()
    text.press("Enter")
    text.press_sequentially("(where: {age: {gte: $min}}) { id na")
    expect(page.get_by_role("option", name="name")).to_be_visible()
    text.press("Tab")
    text.press_sequentially(" } }")
    assert text.input_value() == "{ people(where: {age: {gte: $min}}) { id name } }"
    page.get_by_label("Variables as JSON").fill('{"min": 28}')
    text.press("Control+Enter")
    expect(page.get_by_role("cell", name="Person 29")).to_be_visible()
    expect(page.get_by_text("2 rows", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("region", name="Plan for people")).to_contain_text(
        "Rows read"
    )
    text.fill("{ peple { id } }")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text('did you mean "people"')


# ------------------------------------------------------------------ live
WRITER = """
import sys
from aurora_actors import blocking
with blocking.open(sys.argv[1]) as db:
    for line in sys.stdin:
        db.execute(line)
        print("done", flush=True)
"""


def test_a_live_view_follows_the_writes_of_another_process(
    visit: Visit, served: Served
):
    served.collection("watched")
    page = visit.log_in(served.token)
    visit.view("live/watched")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    result = page.get_by_role("region", name="The result now")
    path = served.db.config.db_path
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None

        def write(text: str) -> None:
            writer.stdin.write(f"mutation {{ {text} }}\n")  # type: ignore[union-attr]
            writer.stdin.flush()  # type: ignore[union-attr]
            assert writer.stdout.readline() == "done\n"  # type: ignore[union-attr]

        write('insertInto(collection: "watched", data: {id: "x", name: "Xenia"})')
        expect(result.get_by_role("cell", name="Xenia")).to_be_visible()
        expect(result.get_by_text("1 document", exact=True)).to_be_visible()
        write('update(collection: "watched", all: true, data: {name: "Yves"})')
        expect(result.get_by_role("cell", name="Yves")).to_be_visible()
        write('deleteFrom(collection: "watched", all: true)')
        expect(result.get_by_role("cell", name="Yves")).to_have_count(0)
        writer.stdin.close()
    log = page.get_by_role("log", name="What happened")
    for word in ("appeared", "changed", "vanished"):
        expect(log.get_by_text(word)).to_be_visible()


# ------------------------------------------------------------------ jobs
def test_a_dead_job_is_looked_at_and_retried(visit: Visit, served: Served):
    served.db.start_pool("all", handlers=job_handlers)
    # It counts in a collection that is not there yet.
    job = Job("count", {"name": "x"}, max_retries=0)
    job_id = served.db.enqueue_job(job)
    with pytest.raises(JobFailedError):
        served.db.wait_job(job_id, timeout=60)
    served.db.new_collection("counters", open=True)

    page = visit.log_in(served.token)
    visit.view("jobs")
    queues = page.get_by_role("region", name="Queues")
    expect(queues.get_by_role("row", name="default")).to_contain_text("1")
    page.get_by_label("Status").select_option("dead_letter")
    page.get_by_role("row", name=f"Job count {job_id}").press("Enter")
    shown = page.get_by_role("dialog", name="Job count")
    expect(shown).to_contain_text("Attempt 1")
    with page.expect_response(re.compile("/retry$")):
        shown.get_by_role("button", name="Retry").click()
    assert served.db.wait_job(job_id, timeout=60) == "counted"
    page.get_by_label("Status").select_option("completed")
    row = page.get_by_role("row", name=f"Job count {job_id}")
    expect(row).to_contain_text("completed")


# ------------------------------------------------------------------ processes
def test_the_tree_and_its_charts_are_shown(visit: Visit, served: Served):
    page = visit.log_in(served.token)
    visit.view("system")
    processes = page.get_by_role("region", name="Processes").last
    for name in ("supervisor", "storage", "index_builder", "http_gateway"):
        expect(processes.get_by_role("row", name=name)).to_contain_text("ready")
    chart = page.get_by_role("img", name=re.compile("^Memory: storage"))
    expect(chart).to_be_visible()
    wait_until(lambda: chart.locator("path.line").count() >= 5, "lines")


# ------------------------------------------------------------------ for everybody
CHECKS = (
    re.sub(
        r"\s+",
        " ",
        """
() => {
  const wrong = [];
  const seen = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("scrolls sideways");
  for (const e of document.querySelectorAll("input, select, textarea")) {
    if (seen(e) && !e.labels?.length && !e.getAttribute("aria-label")) wrong.push("no label: " + e.outerHTML);
  }
  for (const e of document.querySelectorAll("button, a[href]")) {
    if (seen(e) && !(e.textContent.trim() || e.getAttribute("aria-label"))) wrong.push("no name: " + e.outerHTML);
  }
  const levels = [...document.querySelectorAll("h1, h2, h3")].map((e) => e.tagName);
  if (levels.filter((each) => each === "H1").length !== 1 && !document.querySelector(".login")) wrong.push("headings: " + levels);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].reduce((sum, each, i) => {
    const c = each / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found[3] > 250) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || !seen(e) || e.closest("textarea, :disabled, option, .visually-hidden, .skip, svg")) continue;
    const [a, b] = [light(colour(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) wrong.push("contrast " + ratio.toFixed(2) + ": " + node.data.trim().slice(0, 40));
  }
  return [...new Set(wrong)];
}
""",
    )
).strip()


def checked(page: Page, place: str) -> None:
    """Look at a page in both themes and at both widths."""
    for theme, width in itertools.product(("light", "dark"), (390, 1280)):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate(CHECKS) == [], (place, theme, width)


def test_every_view_is_labelled_legible_and_fits(
    visit: Visit, served: Served, people: None
):
    page = visit.page
    page.goto(visit.base)
    checked(page, "log-in")
    visit.log_in(served.token)
    for view in VIEWS:
        visit.view(view)
        expect(page.locator("main h1")).to_be_visible()
        expect(page.get_by_text("Loading")).to_have_count(0)
        checked(page, view)
    visit.view("collections/people")
    page.get_by_role("button", name="New document").click()
    checked(page, "editor")


def test_what_matters_of_tables_fits_on_a_narrow_screen(
    visit: Visit, served: Served, people: None
):
    page = visit.log_in(served.token)
    page.set_viewport_size({"width": 390, "height": 844})
    wide = (
        "() => [...document.querySelectorAll('.scroll')]"
        ".filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    )
    for view in ("collections", "collections/people/schema", "jobs", "system"):
        visit.view(view)
        expect(page.locator("main table, main .empty").first).to_be_visible()
        assert page.evaluate(wide) == 0, view
    _query_view(visit).fill("{ people { id name } }")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("cell", name="Person 1", exact=True)).to_be_in_viewport()


def test_views_are_reached_by_keyboard_alone(visit: Visit, served: Served):
    page = visit.log_in(served.token)
    page.keyboard.press("Alt+2")
    expect(page.get_by_role("heading", name="Query", exact=True)).to_be_visible()
    page.keyboard.press("Alt+1")
    expect(page.get_by_role("heading", name="Collections")).to_be_visible()
    page.goto(f"{visit.base}#/system")
    page.reload()
    expect(page.get_by_role("heading", name="System")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("button", name="Log out").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()


# ------------------------------------------------------------------ files
def test_the_consoles_files_are_those_alone(served: Served):
    page = served.http.get("/console/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = served.http.get(
        "/console/", headers={"If-None-Match": page.headers["etag"]}
    )
    assert again.status_code == 304
    for path in ("..%2Fapp.py", "%2e%2e/app.py", "pages.py", "/etc/passwd", "x.js"):
        assert served.http.get(f"/console/{path}").status_code == 404, path
    for name in re.findall(r'(?:href|src)="([a-z.]+)"', page.text):
        assert served.http.get(f"/console/{name}").status_code == 200, name
