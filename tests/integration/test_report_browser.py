"""The report in a real browser: no console error, the clicks work, what a model wrote stays text."""

import base64
import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest

from p2o.analysis.report import write_report
from p2o.base.files import read_json, write_json
from p2o.base.text import clean_text
from runs import EVIL, make_run, template

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

CLICKS = """
<script>
addEventListener("load", () => {
  const click = (e) => e.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  const panel = document.getElementById("detail"), seen = {};
  click(document.querySelector('.row:has(.id[title="leans"]) [data-place="1"]'));
  seen.sample = panel.textContent;
  click(panel.querySelector(".step"));
  seen.earlier = panel.textContent;
  click(panel.querySelector(".close"));
  seen.closed = panel.hidden;
  click(document.querySelector('.dot.leak'));
  seen.refused = panel.textContent;
  seen.removed = [...panel.querySelectorAll("del")].map((e) => e.textContent).join("");
  seen.kept = [...panel.querySelectorAll(".diff span")].map((e) => e.textContent).join("");
  click([...panel.querySelectorAll(".step")].pop());
  seen.parent = panel.querySelector("h4").textContent;
  const rows = () => document.querySelectorAll(".matrix .row").length - 1;
  seen.rows = [rows()];
  click([...document.querySelectorAll(".filters button")].find((b) => b.textContent.includes("graduated")));
  seen.rows.push(rows());
  seen.title = document.title;
  seen.images = document.images.length;
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.body.setAttribute("data-seen", btoa(unescape(encodeURIComponent(JSON.stringify(seen)))));
});
</script>
</body>"""


def open_page(page, folder):
    """(lines of the console, the page as the browser ended with it)."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=500,900", "--dump-dom",
               page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stdout


def test_clicks_and_console(tmp_path):
    page = write_report([make_run(tmp_path / "run")])
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))  # it would stop the clicks' script
    page.write_text(text.replace("</body>", CLICKS), encoding="utf-8")
    console, dom = open_page(page, tmp_path)
    assert console == []
    found = re.search(r'data-seen="([^"]+)"', dom)
    assert found, dom[-2000:]
    seen = json.loads(base64.b64decode(found.group(1)))
    assert clean_text(f"What is leans? {EVIL}") in seen["sample"]
    assert clean_text(template()) in seen["sample"]
    assert clean_text(f"{EVIL} 5") in seen["sample"]
    assert "templated 3 of 5 solved" in seen["sample"]
    assert "epoch 1 · all failed" in seen["earlier"]
    assert seen["closed"]
    assert "leak: an answer" in seen["refused"]
    assert seen["removed"] == clean_text(template())
    assert seen["kept"] == ""
    assert seen["parent"] == "Template 2"
    assert seen["rows"] == [3, 1]
    assert seen["title"] == "P²O · run"
    assert seen["images"] == 0
    assert not seen["wide"]


CUT = """
<script>
addEventListener("load", () => {
  const scrolls = (e) => e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const cut = [...document.querySelectorAll("main *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !scrolls(e);
  });
  const wide = document.documentElement.scrollWidth > innerWidth;
  parent.document.body.dataset.seen = JSON.stringify([innerWidth, wide, cut.map((e) => e.outerHTML.slice(0, 80))]);
});
</script>
</body>"""


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_on_a_phone(tmp_path, width):
    runs = [make_run(tmp_path / "one" / "run"), make_run(tmp_path / "two" / "run")]
    text = re.sub(r"<meta http-equiv[^>]*>", "", write_report(runs).read_text(encoding="utf-8"))
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(text.replace("</body>", CUT))}">'
    outer = tmp_path / "outer.html"
    outer.write_text(f'<meta charset="utf-8"><body>{frame}</iframe></body>', encoding="utf-8")
    _, dom = open_page(outer, tmp_path)
    found = re.search(r'data-seen="([^"]+)"', dom)
    assert found, dom[-500:]
    assert json.loads(unescape(found.group(1))) == [width, False, []]


TURNS = [
    ["environment", "", "A desk."],
    ["call", "calc", '{"sum": "1+2+3"}'],
    ["result", "calc", "{'error': 'one operation at a time'}"],
    ["call", "calc", '{"sum": "1+2"}'],
    ["result", "calc", f"3\n{EVIL}"],
    ["said", "", "3"],
]
OPEN = """<script>addEventListener("load", () => {
  const panel = document.getElementById("detail");
  const cell = document.querySelector('.matrix [data-row="0"][data-place="1"]');
  cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  const lines = [...panel.querySelectorAll(".rollout > *")].map((e) => [e.tagName, e.className, e.textContent]);
  document.body.setAttribute("data-seen", btoa(unescape(encodeURIComponent(JSON.stringify(lines)))));
});</script></body>"""


def test_turns_are_shown_as_turns(tmp_path):
    run = make_run(tmp_path / "run")
    file = run / "p2o" / "rollouts-001.json"
    record = read_json(file)
    for sample in record["samples"].values():
        sample["rollouts"] = [[None, "the same as text", 1.0, True, TURNS]]
    write_json(file, record)
    page = write_report([run])
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    page.write_text(text.replace("</body>", OPEN), encoding="utf-8")
    console, dom = open_page(page, tmp_path)
    assert console == []
    found = re.search(r'data-seen="([^"]+)"', dom)
    assert found, dom[-800:]
    shown = json.loads(base64.b64decode(found.group(1)))
    assert shown[1:4] == [
        ["P", "meta", "2 tool calls, 1 failed"],
        ["P", "result", "environment: A desk."],
        ["DIV", "box call", 'calc {"sum": "1+2+3"}'],
    ]
    assert shown[4] == ["P", "result failed", "result of calc: {'error': 'one operation at a time'}"]
    assert shown[6][:2] == ["DETAILS", "result"]  # more than a line is folded
    assert shown[6][2] == f"result of calc: 3 …3\n{clean_text(EVIL)}"
    assert shown[7] == ["DIV", "box", "3"]


def test_a_chart_tells_its_figures(tmp_path):
    page = write_report([make_run(tmp_path / "run")])
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    point = """<script>addEventListener("load", () => {
      const tip = document.querySelector(".chart .tip");
      tip.firstElementChild.nextElementSibling.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    });</script></body>"""
    page.write_text(text.replace("</body>", point), encoding="utf-8")
    console, dom = open_page(page, tmp_path)
    assert console == []
    assert re.search(r'<div id="tip" style="[^"]*">[^<]*\(epoch [0-9.]+\)</div>', dom), dom[-800:]


def test_only_the_page_s_own_script_runs(tmp_path):
    page = write_report([make_run(tmp_path / "run")])
    console, dom = open_page(page, tmp_path)
    assert console == []
    assert dom.count('<div class="row') == 4  # the script built the matrix: a head and three samples
    injected = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"></body>"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", injected), encoding="utf-8")
    console, dom = open_page(page, tmp_path)
    assert any("Content Security Policy" in line for line in console)
    assert "<title>P²O · run</title>" in dom
