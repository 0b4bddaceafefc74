#!/usr/bin/env python3
"""Opens clipclass's HTML pages, of records and of evaluations, in headless Chromium: filters, sorts, steps
with the keyboard, and looks for scripts that run though they should not.

    python3 tests/browser.py CLIPCLASS [--screenshots FOLDER] [--many]

Needs chromium or Chrome with its chromedriver, and selenium 4.51 from PyPI. Where one of them is missing it
says so and ends with 0: the page's text is tested without a browser as well.
"""

import argparse
import base64
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABELS = "a cat,a dog,a car,a tree,a person"
HOSTILE = '"><img src=x onerror=document.title=1><script>document.title=1<\u200fscript> \u202e.png'


def page(binary, folder, inputs, *options, labels=LABELS, verb=()):
    """The path of a page of `inputs`."""
    path = folder / f"{len(list(folder.glob('*.html')))}.html"
    command = [binary, *verb, "--model", ROOT / "fixtures/tiny-clip", "--labels", labels, "--format", "html", "-o", path]
    status = subprocess.run([*command, *options, *inputs], stderr=subprocess.DEVNULL).returncode
    assert status in (0, 1), f"{command} ended with {status}"
    return path


def names(driver):
    """The names of the cards that are shown, in order."""
    script = "return [...document.querySelectorAll('article')].filter(c => !c.hidden).map(c => c.querySelector('.name').textContent)"
    return driver.execute_script(script)


def choose(driver, control, value):
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", control)).select_by_value(value)


def check_controls(driver, path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    driver.get(path.as_uri())
    every = names(driver)
    assert len(every) > 4, every
    assert driver.find_element("tag name", "output").text == f"{len(every)} of {len(every)} images"

    def press(*keys):
        ActionChains(driver).send_keys(*keys).perform()

    def focused():
        return driver.switch_to.active_element.find_element("class name", "name").text

    press("/")
    press("tree.jpg")
    assert names(driver) == [name for name in every if "tree.jpg" in name], names(driver)
    press(Keys.ESCAPE)
    assert names(driver) == every
    choose(driver, "only", "failed")
    assert [Path(name).name for name in names(driver)] == ["truncated.jpg"], names(driver)
    choose(driver, "only", "3")
    assert 0 < len(names(driver)) < len(every)
    press(Keys.ESCAPE)
    choose(driver, "order", "name")
    assert names(driver) == sorted(every), names(driver)
    choose(driver, "order", "surest")
    surest = driver.execute_script("return [...document.querySelectorAll('article')].map(c => Number(c.dataset.probability ?? -1))")
    assert surest == sorted(surest, reverse=True), surest
    choose(driver, "order", "input")
    assert names(driver) == every
    driver.execute_script("document.activeElement.blur()")
    press(Keys.ARROW_RIGHT)
    assert focused() == every[0], focused()
    press(Keys.ARROW_RIGHT)
    assert focused() == every[1], focused()
    press(Keys.ARROW_LEFT)
    assert focused() == every[0], focused()
    press(Keys.ENTER)
    assert "large" in driver.switch_to.active_element.get_attribute("class")


def check_report(driver, path, labels):
    """A page of an evaluation of pictures that are called what the labels say, in turn."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    # What the pages before have said.
    driver.get_log("browser")
    driver.get(path.as_uri())
    errors = [entry["message"] for entry in driver.get_log("browser")]
    assert not errors, errors
    links = [link.get_attribute("hash") for link in driver.find_elements("css selector", "nav a")]
    assert "#confusion" in links and "#mistakes" in links, links
    for link in links:
        assert driver.find_elements("css selector", f"h2{link}"), link
    drawings = driver.find_elements("css selector", ".chart[role=img][aria-label] svg")
    assert len(drawings) == 2, drawings
    for drawing in drawings:
        assert drawing.size["width"] > 200 and drawing.size["height"] > 100, drawing.size
        outside = """const all = arguments[0].getBoundingClientRect();
            return [...arguments[0].querySelectorAll('text')].filter(text => {
              const box = text.getBoundingClientRect();
              return box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1 || box.bottom > all.bottom + 1;
            }).map(text => text.textContent.trim());"""
        assert driver.execute_script(outside, drawing) == [], "text is cut off"
    shown = [text.text for text in drawings[0].find_elements("tag name", "text")]
    assert all(shown.count(label) == 2 for label in labels), shown

    def column(number):
        cells = driver.find_elements("css selector", f"#classes ~ div td:nth-child({number})")
        return [cell.text for cell in cells][: len(labels)]

    heads = driver.find_elements("css selector", "#classes ~ div th button")
    assert [head.text for head in heads][:4] == ["class", "precision", "recall", "F1"], heads
    heads[0].click()
    assert column(1) == sorted(labels), column(1)
    heads[3].click()
    assert column(4) == sorted(column(4), reverse=True), column(4)
    heads[3].click()
    assert column(4) == sorted(column(4)), column(4)

    every = names(driver)
    assert driver.find_element("tag name", "output").text == f"{len(every)} of {len(every)} images"
    pictures = "return [...document.querySelectorAll('article img')].every(img => img.complete && img.naturalWidth > 0)"
    assert driver.execute_script(pictures), "a picture is not shown"
    choose(driver, "order", "name")
    assert names(driver) == sorted(every), names(driver)
    choose(driver, "order", "input")
    # Arrows scroll, until a card is chosen.
    driver.execute_script("document.activeElement.blur()")
    ActionChains(driver).send_keys(Keys.ARROW_DOWN).perform()
    assert driver.execute_script("return document.activeElement === document.body")
    driver.execute_script("document.querySelector('article').focus()")
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert driver.switch_to.active_element.find_element("class name", "name").text == every[1]


def check_hostile(driver, path, title):
    driver.get(path.as_uri())
    assert driver.title == title, driver.title
    assert len(driver.find_elements("css selector", "main article")) == 1
    assert driver.find_element("class name", "name").get_attribute("textContent").endswith(".png")
    # Even where markup got in, the policy lets nothing run.
    driver.execute_script("const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s)")
    driver.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 3\">')")
    time.sleep(0.3)
    assert driver.title == title, driver.title


def check_many(driver, path, count):
    """A page of so many cards opens, and pictures far down are shown when they are looked at."""
    start = time.monotonic()
    driver.get(path.as_uri())
    assert driver.execute_script("return document.querySelectorAll('article').length") == count
    took = time.monotonic() - start
    waiting = "return document.querySelectorAll('img[data-src]').length"
    assert driver.execute_script(waiting) > 0
    driver.execute_script("[...document.querySelectorAll('article')].at(-1).focus()")
    seen = "const img = [...document.querySelectorAll('article img')].at(-1); return img.complete && img.naturalWidth > 0"
    for _ in range(50):
        if driver.execute_script(seen):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the last picture is not shown")
    assert driver.execute_script(waiting) > 0, "all pictures were loaded for one"
    choose(driver, "order", "name")
    assert len(names(driver)) == count
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert driver.execute_script(waiting) == 0, "pictures are left out in print"
    return took


def screenshots(driver, path, folder, name):
    """The whole page in both schemes, and as it is printed."""
    for scheme in ["light", "dark"]:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.get(path.as_uri())
        height = driver.execute_script("return document.documentElement.scrollHeight")
        size = {"width": 1200, "height": min(height, 6000), "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.3)
        driver.save_screenshot(str(folder / f"{name}-{scheme}.png"))
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    (folder / f"{name}.pdf").write_bytes(base64.b64decode(driver.print_page()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clipclass", type=Path, help="the program")
    parser.add_argument("--screenshots", type=Path, help="keep pictures of the pages in both colour schemes, and in print, here")
    parser.add_argument("--many", action="store_true", help="also measure a page of 10,000 images")
    arguments = parser.parse_args()
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        sys.exit(print("skipped: selenium is not installed") or 0)
    chromium, chromedriver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        sys.exit(print("skipped: chromium and chromedriver are not installed") or 0)

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ["--headless=new", "--no-sandbox", "--window-size=1200,900", "--disable-gpu"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            binary = arguments.clipclass.resolve()
            gallery = page(binary, folder, [*sorted((ROOT / "fixtures/images").glob("*.jpg")), ROOT / "fixtures/broken/truncated.jpg"])
            check_controls(driver, gallery)
            hostile = folder / "hostile"
            hostile.mkdir()
            try:
                shutil.copy(ROOT / "fixtures/images/cat.png", hostile / HOSTILE)
            except OSError:
                print("skipped: no such file names here")
            else:
                labels = "<script>document.title=1</script>,a cat"
                check_hostile(driver, page(binary, folder, [hostile], labels=labels), "clipclass")
                truth = folder / "truth.csv"
                with truth.open("w", newline="") as file:
                    csv.writer(file).writerows([["image", "label"], [HOSTILE, labels.split(",")[0]]])
                options = ["--truth", truth, "-t", "<script>document.title=1</script> {}", "-t", "{}"]
                check_hostile(driver, page(binary, folder, [hostile], *options, labels=labels, verb=["eval"]), "clipclass eval")
            pictures = folder / "pictures"
            labels = LABELS.split(",")
            for i, path in enumerate(sorted((ROOT / "fixtures/images").glob("*.png"))):
                place = pictures / labels[i % len(labels)]
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
            options = ["-t", "a photo of {}", "-t", "{}"]
            report = page(binary, folder, [pictures], *options, verb=["eval"])
            check_report(driver, report, labels)
            listing = folder / "list"
            listing.write_text(f"{ROOT}/fixtures/images/tree.jpg\n" * 900)
            # More than a sheet of cards.
            check_many(driver, page(binary, folder, ["--files-from", listing]), 900)
            if arguments.screenshots:
                arguments.screenshots.mkdir(parents=True, exist_ok=True)
                screenshots(driver, gallery, arguments.screenshots, "records")
                screenshots(driver, report, arguments.screenshots, "report")
            if arguments.many:
                listing.write_text(f"{ROOT}/fixtures/images/tree.jpg\n" * 10_000)
                many = page(binary, folder, ["--files-from", listing])
                took = check_many(driver, many, 10_000)
                print(f"10,000 images: {many.stat().st_size / 10_000:.0f} bytes each, opened in {took:.1f} s")
    finally:
        driver.quit()
    print("ok")


if __name__ == "__main__":
    main()
