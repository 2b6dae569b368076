"""Takes the picture of the page of `minirep web` after a demo clip, in a Chromium without a screen.

pip install playwright pillow, apt install chromium
python docs/figures/web.py docs/figures/web.webp
"""

import io
import sys
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import minirep
from minirep.web import Bench, Server

ROOT = Path(__file__).parents[2]


def main(path: str, word: str = "nine") -> None:
    with Server(Bench(ROOT / "tutorials" / "digits-branches.npz", "numpy")) as server, sync_playwright() as p:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme="light")
        page.goto(server.address)
        page.wait_for_selector("#stages input")
        page.set_input_files("#file", Path(minirep.__file__).parent / "data" / "demo" / f"{word}.wav")
        page.wait_for_selector("#events li")
        page.click("#stages label:has-text('stage2')")
        page.wait_for_selector("#inside:visible")
        page.wait_for_timeout(600)
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        picture = picture.quantize(128, dither=Image.Dither.NONE).convert("RGB")
        picture.save(path, lossless=True, quality=100, method=6)
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
