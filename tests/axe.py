"""axe, which finds what keeps a visitor from reading or using a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from playwright.sync_api import Page

from tests.node import NODE

_AXE = NODE / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """async (rules) => {
    const found = await axe.run({rules: Object.fromEntries(rules.map(r => [r, {enabled: false}]))});
    return found.violations.flatMap(
        rule => rule.nodes.map(node => `${rule.id}: ${node.failureSummary} ${node.html}`));
}"""


def barriers(page: Page, *, without: Sequence[str] = ()) -> list[str]:
    """Return what breaks a rule of axe on a page, but for the rules that do not apply."""
    page.evaluate(_AXE.read_text())
    return cast("list[str]", page.evaluate(_RUN, list(without)))
