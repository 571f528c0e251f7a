"""One browser for every test that looks at a page, of the explorer and of the book."""

import pytest

from browser import chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser
