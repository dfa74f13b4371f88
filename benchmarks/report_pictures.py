"""Writes docs/images/report-*.png: a report in a real browser, at 1280 and 390 pixels, light and dark.

    python benchmarks/report_pictures.py runs/quickstart

Needs Chromium (Debian: apt-get install chromium). The reports are written anew first.
"""

from __future__ import annotations

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
WAIT_MS = 15_000
"""For a page to be loaded and drawn; on a busy machine a shorter time gives an empty picture."""


def picture(page: Path, width: int, height: int, dark: bool, out: Path) -> None:
    """One picture of a page. A frame gives it its width: the browser's window has a least width of its own."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder) / "outer.html"
        frame = f'style="position:absolute;top:0;left:0;border:0;width:{width}px;height:{height}px"'
        text = escape(page.read_text(encoding="utf-8"))
        outer.write_text(f'<!doctype html><meta charset="utf-8"><iframe {frame} srcdoc="{text}"></iframe>', "utf-8")
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   f"--user-data-dir={folder}/profile", f"--timeout={WAIT_MS}",
                   "--force-device-scale-factor=1",
                   f"--window-size={max(500, width)},{height}", f"--screenshot={folder}/shot.png"]  # fmt: skip
        if dark:
            command.append("--blink-settings=preferredColorScheme=0")
        subprocess.run([*command, outer.as_uri()], check=True, capture_output=True, timeout=120)
        _cropped(Path(folder) / "shot.png", width, out)


def _cropped(shot: Path, width: int, out: Path) -> None:
    """The left part of a picture, in 256 colours to save room. MAXCOVERAGE keeps the rare ones."""
    from PIL import Image

    image = Image.open(shot).convert("RGB")
    part = image.crop((0, 0, width, image.height))
    part.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(out, optimize=True)


def main(run: Path) -> None:
    """Writes all pictures of one run."""
    page = write_report([run])
    for name, (width, height) in SIZES.items():
        for dark in (False, True):
            out = OUT / f"{name}{'-dark' if dark else ''}.png"
            picture(page, width, height, dark, out)
            print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
