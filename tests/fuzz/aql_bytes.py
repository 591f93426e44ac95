"""Raw bytes as AQL, chosen by what they reach in the code: ``make fuzz RUNS=200000``.

Atheris keeps the inputs that reach something new and changes those further. It begins
with the examples of the tests. What it finds it leaves in a file and ends with status
77; the file's name as the last argument tries that input alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["aurora_actors.aql", "aurora_actors.query", "lark"]
):
    from aql_answers import EXAMPLES, check_answer


def try_bytes(data: bytes) -> None:
    """Anything but an answer or a typed error ends the run."""
    check_answer(data.decode("utf-8", "surrogateescape"))


def main() -> None:
    """Run with the options of libFuzzer, over a corpus that begins with the examples."""
    with tempfile.TemporaryDirectory(prefix="aurora-fuzz-") as folder:
        for number, text in enumerate(EXAMPLES):
            (Path(folder) / f"{number}.aql").write_text(text, "utf-8")
        atheris.Setup([*sys.argv, folder], try_bytes)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
