"""Pages as a browser shows them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
browser = pytest.mark.skipif(BROWSER is None, reason="no chromium and no google-chrome here")


def opened(path: Path, folder: Path, width: int = 1440, script: str = "") -> tuple[str, list[str]]:
    """The page after its scripts ran, and what the console said.

    With a script of ours it is a copy, whose policy lets it run, in a frame of that width, since a
    window of Chromium's is never narrower than 500 px; `tell(...)` in the script sends what is to
    be known.
    """
    if script:
        text = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", path.read_text())
        copy, path = path.with_name("copy.html"), path.with_name("frame.html")
        tell = "const tell = (found) => parent.postMessage(JSON.stringify(found), '*');"
        copy.write_text(text.replace("</body>", f"<script>{tell}{script}</script></body>"))
        frame = (
            f'<iframe src="copy.html" style="width: {width}px; height: 800px; border: 0"></iframe>'
        )
        listen = "onmessage = (e) => { document.title = e.data; };"
        path.write_text(f"<title></title>{frame}<script>{listen}</script>")
    flags = [
        *(
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ),
        *(
            "--dump-dom",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=90000",
        ),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1600,900", path.as_uri()),
    ]
    for _ in range(
        3
    ):  # a browser that is short of time writes the page out before the frame has answered
        done = subprocess.run(
            [str(BROWSER), *flags], capture_output=True, text=True, timeout=120, check=False
        )
        if "<title></title>" not in done.stdout:
            break
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def said(page: str) -> dict:
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", page, re.S)[1]))
