"""A headless Chromium that a test drives through chromedriver, by the W3C's WebDriver protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Left": "\ue012", "Up": "\ue013",
        "Right": "\ue014", "Down": "\ue015"}  # fmt: skip


class Browser:
    """One window; what it logs and requests is kept."""

    def __init__(self, address: str, session: str) -> None:
        self.address = f"{address}/session/{session}"

    def call(self, path: str, body: dict | None = None):
        return _ask(f"{self.address}/{path}", body, "GET" if body is None else "POST")

    def open(self, url: str) -> None:
        self.call("url", {"url": url})

    def run(self, script: str, *arguments):
        return self.call("execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str):
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := self.run(f"return {script}"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}\n{self.log()}")

    def click(self, css: str) -> None:
        found = self.call("element", {"using": "css selector", "value": css})
        self.call(f"element/{found[ELEMENT]}/click", {})

    def press(self, *keys: str) -> None:
        """Real key events to what has the focus."""
        typed = [KEYS.get(key, key) for key in keys]
        steps = [{"type": kind, "value": key} for key in typed for kind in ("keyDown", "keyUp")]
        self.call("actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def drag(self, start: tuple[int, int], by: tuple[int, int]) -> None:
        """A real drag of the mouse, px of the window."""
        move = {"type": "pointerMove", "duration": 0}
        end = (start[0] + by[0], start[1] + by[1])
        steps = [
            {**move, "x": start[0], "y": start[1]},
            {"type": "pointerDown", "button": 0},
            {**move, "duration": 200, "x": end[0], "y": end[1]},
            {"type": "pause", "duration": 300},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": "mouse", "actions": steps}
        self.call("actions", {"actions": [{**pointer, "parameters": {"pointerType": "mouse"}}]})

    def wheel(self, place: tuple[int, int], by: int) -> None:
        """Turn the wheel over a place of the window."""
        step = {"type": "scroll", "x": place[0], "y": place[1], "deltaX": 0, "deltaY": by}
        actions = [{**step, "duration": 0, "origin": "viewport"}]
        self.call("actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": actions}]})

    def size(self, width: int, height: int) -> None:
        self.call("window/rect", {"width": width, "height": height})

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("screenshot"))

    def log(self) -> list[str]:
        """What the console said since the last call."""
        found = self.call("se/log", {"type": "browser"})
        return [f"{line['level']} {line['message']}" for line in found]

    def requests(self) -> set[str]:
        """Every address that was asked for since the last call."""
        events = (
            json.loads(line["message"])["message"]
            for line in self.call("se/log", {"type": "performance"})
        )
        sent = (e["params"] for e in events if e["method"] == "Network.requestWillBeSent")
        return {one["request"]["url"] for one in sent}


@contextmanager
def browser(folder: Path, width: int = 1400, height: int = 900) -> Iterator[Browser]:
    """A new window with a profile of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    driver = subprocess.Popen(
        [shutil.which("chromedriver") or "chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        line = next(text for text in driver.stdout if "on port" in text and "started" in text)
        address = f"http://127.0.0.1:{int(line.rstrip().rstrip('.').split()[-1])}"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update"]
        options += ["--disable-sync", f"--user-data-dir={folder / 'profile'}"]
        options += [f"--window-size={width},{height}", "--force-prefers-reduced-motion"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": options, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = _ask(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}}, "POST")
        try:
            yield Browser(address, made["sessionId"])
        finally:
            _ask(f"{address}/session/{made['sessionId']}", None, "DELETE")
    finally:
        driver.terminate()
        driver.wait(timeout=SECONDS)
        driver.stdout.close()


def _ask(url: str, body: dict | None, method: str):
    """The value that the driver answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        return json.load(answer)["value"]
