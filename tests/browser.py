#!/usr/bin/env python3
"""Opens clipclass's HTML pages in headless Chromium: filters, sorts, steps with the keyboard, and looks
for scripts that run though they should not.

    python3 tests/browser.py CLIPCLASS [--screenshots FOLDER] [--many]

Needs chromium or Chrome with its chromedriver, and selenium 4.51 from PyPI. Where one of them is missing it
says so and ends with 0: the page's text is tested without a browser as well.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABELS = "a cat,a dog,a car,a tree,a person"
HOSTILE = '"><img src=x onerror=document.title=1><script>document.title=1<\u200fscript> \u202e.png'


def page(binary, folder, inputs, *options, labels=LABELS):
    """The path of a page of `inputs`."""
    path = folder / f"{len(list(folder.glob('*.html')))}.html"
    command = [binary, "--model", ROOT / "fixtures/tiny-clip", "--labels", labels, "--format", "html", "-o", path]
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


def check_hostile(driver, path):
    driver.get(path.as_uri())
    assert driver.title == "clipclass", driver.title
    assert len(driver.find_elements("css selector", "main > article")) == 1
    assert driver.find_element("class name", "name").get_attribute("textContent").endswith(".png")
    # Even where markup got in, the policy lets nothing run.
    driver.execute_script("const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s)")
    driver.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 3\">')")
    time.sleep(0.3)
    assert driver.title == "clipclass", driver.title


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clipclass", type=Path, help="the program")
    parser.add_argument("--screenshots", type=Path, help="keep pictures of the page in both colour schemes here")
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
                check_hostile(driver, page(binary, folder, [hostile], labels=labels))
            if arguments.screenshots:
                arguments.screenshots.mkdir(parents=True, exist_ok=True)
                for scheme in ["light", "dark"]:
                    feature = {"name": "prefers-color-scheme", "value": scheme}
                    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                    driver.get(gallery.as_uri())
                    driver.save_screenshot(str(arguments.screenshots / f"{scheme}.png"))
            if arguments.many:
                listing = folder / "list"
                listing.write_text(f"{ROOT}/fixtures/images/tree.jpg\n" * 10_000)
                many = page(binary, folder, ["--files-from", listing])
                start = time.monotonic()
                driver.get(many.as_uri())
                assert len(names(driver)) == 10_000
                took = time.monotonic() - start
                print(f"10,000 images: {many.stat().st_size / 10_000:.0f} bytes each, opened in {took:.1f} s")
    finally:
        driver.quit()
    print("ok")


if __name__ == "__main__":
    main()
