"""Writes docs/images/report-*.png: a report in a real browser, at 1280 and 390 pixels, light and dark.

    python benchmarks/report_pictures.py runs/quickstart
    python benchmarks/report_pictures.py runs/quickstart-tools turns    # report-turns*.png: a sample's turns

Needs Chromium (Debian: apt-get install chromium). The reports are written anew first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from p2o.analysis.report import write_report

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZES = {"report": (1280, 1650), "report-phone": (390, 1700)}
"""Name → width and height, in pixels."""
TURNS = {"report-turns": (1280, 900), "report-turns-phone": (390, 900)}
PANEL = 464
"""Width of the panel with a sample, at the right of a wide page, in pixels."""
OPENED = """<script>addEventListener("load", () => {
  const samples = Object.entries(DATA.runs[0].samples);
  for (const [number, sample] of samples)
    for (const [place, rollouts] of Object.entries(sample.rollouts))
      if (rollouts.some((r) => r[3] && r[4])) {
        const cell = document.querySelector(`[data-row="${number}"][data-place="${place}"]`);
        cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        const panel = document.getElementById("detail");
        panel.scrollTop = panel.querySelector(".rollout").offsetTop - 60;
        return;
      }
});</script></body>"""
"""Opens the first sample with a solved rollout in which tools were called."""
WAIT_MS = 15_000
"""For a page to be loaded and drawn; on a busy machine a shorter time gives an empty picture."""


def picture(text: str, width: int, height: int, dark: bool, out: Path, left: int = 0) -> None:
    """One picture of a page, from ``left`` on. A frame gives it its width: the browser's window has a least width."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder) / "outer.html"
        frame = f'style="position:absolute;top:0;left:0;border:0;width:{width}px;height:{height}px"'
        framed = f'<!doctype html><meta charset="utf-8"><iframe {frame} srcdoc="{escape(text)}"></iframe>'
        outer.write_text(framed, encoding="utf-8")
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   f"--user-data-dir={folder}/profile", f"--timeout={WAIT_MS}",
                   "--force-device-scale-factor=1",
                   f"--window-size={max(500, width)},{height}", f"--screenshot={folder}/shot.png"]  # fmt: skip
        if dark:
            command.append("--blink-settings=preferredColorScheme=0")
        subprocess.run([*command, outer.as_uri()], check=True, capture_output=True, timeout=120)
        _cropped(Path(folder) / "shot.png", left, width, out)


def _cropped(shot: Path, left: int, right: int, out: Path) -> None:
    """A part of a picture, in 256 colours to save room. MAXCOVERAGE keeps the rare ones."""
    from PIL import Image

    image = Image.open(shot).convert("RGB")
    part = image.crop((left, 0, right, image.height))
    part.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(out, optimize=True)


def main(run: Path, turns: bool) -> None:
    """Writes all pictures of one run: of its page, or of a sample's turns."""
    text = write_report([run]).read_text(encoding="utf-8")
    if turns:  # the page allows no script but its own
        text = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", OPENED)
    for name, (width, height) in (TURNS if turns else SIZES).items():
        for dark in (False, True):
            out = OUT / f"{name}{'-dark' if dark else ''}.png"
            picture(text, width, height, dark, out, left=width - PANEL if turns and width > PANEL else 0)
            print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), turns=sys.argv[2:] == ["turns"])
