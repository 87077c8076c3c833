"""The process that does the jobs: a line of JSON in for each, lines of JSON out as it goes on.

Its first argument is the module that says what can be done there (KINDS, `get_ready`).

It ends when its input does, so that it never outlives the program that started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from cloakwork.errors import UserError

Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do jobs until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this one
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no report
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    # before the first job, so that it need not wait for torch and the model
    work = import_module(sys.argv[1])
    work.get_ready()

    def tell(id: str, told: dict[str, Any]) -> None:
        out.write(json.dumps([id, told]) + "\n")
        out.flush()

    while True:
        asked = json.loads(jobs.get())
        report = partial(tell, asked["id"])
        report(_done(work.KINDS[asked["kind"]], asked["question"], report))


def _listen(jobs: queue.Queue[str]) -> None:
    """Pass jobs on; end the process when no more can come, whatever it is computing."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


def _done(kind: Callable[..., dict[str, Any]], question: Any, tell: Tell) -> dict[str, Any]:
    """Do one job and return what is to be reported of it."""
    try:
        return {"answer": kind(question, tell)}
    except UserError as error:
        return {"faults": list(error.sentences)}
    except MemoryError:
        return {"faults": ["There is not enough memory. Try fewer or smaller photos."]}
    except Exception as error:
        traceback.print_exc()
        kept = "The terminal that the page was started from says more."
        return {"faults": [f"The computation failed ({type(error).__name__}). {kept}"]}


if __name__ == "__main__":
    main()
