"""The shell's prompt at a terminal: keys, history and completion, by prompt-toolkit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from aurora_actors.cli.shell_session import ShellSession
from aurora_actors.cli.shell_words import is_complete, suggest
from aurora_actors.errors import AuroraError

__all__ = ["typed"]

_PROMPT = "aql> "
_MORE = "...> "


class _WordCompleter(Completer):
    """Completes by the schema as it is at that moment."""

    def __init__(self, session: ShellSession) -> None:
        self._session = session

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """The words that can stand at the cursor."""
        text = document.text_before_cursor
        if text.startswith("."):
            if " " not in text:
                for word in self._session.commands:
                    if word.startswith(text):
                        yield Completion(word, -len(text))
            return
        try:
            known = self._session.definitions()
        except AuroraError:
            return
        found = suggest(text, known)
        for word in found.words:
            yield Completion(word, -found.typed)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text.strip()
        if not text or text.startswith(".") or is_complete(text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    @keys.add("escape", "enter")
    def _run(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


def _history(file: Path) -> History:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("a").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))


def typed(session: ShellSession, history: Path) -> Iterator[str]:
    """What is typed, until Control-D; Control-C gives up what has been begun."""
    prompt: PromptSession[str] = PromptSession(
        _PROMPT,
        multiline=True,
        prompt_continuation=_MORE,
        history=_history(history),
        completer=_WordCompleter(session),
        complete_while_typing=False,
        key_bindings=_keys(),
    )
    while True:
        try:
            yield prompt.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
