"""Firefox without a driver program: it speaks WebDriver BiDi (W3C) over a WebSocket of its own."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BOUND_S = 60.0


class Firefox:
    """A headless Firefox with one page; use as a context."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory()
        log = Path(self._profile.name) / "log"
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [program, "--headless", "--no-remote", "--profile", self._profile.name, "--remote-debugging-port", "0"],
                stdout=said, stderr=said,
            )
        give_up_s = time.monotonic() + BOUND_S
        while not (found := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())):
            assert time.monotonic() < give_up_s, log.read_text()
            assert self._process.poll() is None, log.read_text()
            time.sleep(0.1)
        from websockets.sync.client import connect

        self._line = connect(f"{found.group(1)}/session", max_size=None, open_timeout=BOUND_S)
        self._numbers = itertools.count(1)
        self._say("session.new", capabilities={})
        self._page = self._say("browsingContext.create", type="tab")["context"]

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self._say("browsingContext.navigate", context=self._page, url=url, wait="complete")

    def value(self, expression: str) -> Any:
        """What a script's expression gives, as JSON."""
        told = self._say(
            "script.evaluate", expression=f"JSON.stringify(({expression}) ?? null)", target={"context": self._page},
            awaitPromise=True,
        )
        assert told["type"] == "success", told
        return json.loads(told["result"]["value"])

    def until(self, expression: str) -> Any:
        """Wait until an expression is true; gives its value."""
        give_up_s = time.monotonic() + BOUND_S
        while not (value := self.value(expression)):
            assert time.monotonic() < give_up_s, f"did not come about: {expression}"
            time.sleep(0.1)
        return value

    def picture(self, path: Path) -> None:
        """Write a PNG of what is shown."""
        import base64

        data = self._say("browsingContext.captureScreenshot", context=self._page)["data"]
        path.write_bytes(base64.b64decode(data))

    def _say(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._line.recv(BOUND_S))
            if told.get("id") == number:
                assert told["type"] == "success", told
                return told["result"]

    def __enter__(self) -> Firefox:
        return self

    def __exit__(self, *exception: object) -> None:
        self._line.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()
