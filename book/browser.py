"""Chromium: it walks the built book in the tests, and prints it."""

import os
import shutil
from contextlib import contextmanager


@contextmanager
def chromium():
    """A running Chromium, the one that is installed on the machine."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no Chromium: `make setup` installs it"
    with sync_playwright() as playwright:
        # a container's root may not make namespaces for the sandbox
        arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
