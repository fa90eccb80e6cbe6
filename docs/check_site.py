"""Look at every page of a built site: links lead somewhere, and nothing is loaded from elsewhere.

python docs/check_site.py site
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest"}
FAULTS_SHOWN = 40


@dataclass
class Page(HTMLParser):
    """What a page names: its anchors, its links, and what a browser loads with it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if tag == "link" and set(named.get("rel", "").split()) & LOADED_LINKS:
            self.loaded.append(named.get("href", ""))
        if tag in LOADING and LOADING[tag] in named:
            self.loaded.append(named[LOADING[tag]])
        self._in_style = tag == "style"
        self.styles.append(named.get("style", ""))
        if "mermaid" in named.get("class", "").split():  # its script would come from a server
            self.loaded.append("https://mermaid")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)


def faults_of(site: Path) -> list[str]:
    """One sentence per dead link, missing file, and file of another server."""
    pages = {file: Page() for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        page.feed(file.read_text(encoding="utf-8"))
    faults = []
    for file, page in pages.items():
        here = file.relative_to(site)
        if file.name == "404.html":  # its addresses count from the server's root
            continue
        for address in page.loaded:
            if is_elsewhere(address):
                faults.append(f"{here} loads {address}")
            elif address and not is_inline(address) and not place_of(address, file).exists():
                faults.append(f"{here} loads {address}, which is not there")
        for style in page.styles:
            faults += [f"{here} loads {found}" for found in elsewhere_in(style)]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = place_of(link, file)
            if not target.exists():
                faults.append(f"{here} links to {link}, which is not there")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].anchors}:
                faults.append(f"{here} links to {link}, which has no such heading")
    for file in sorted(site.rglob("*.css")):
        text = file.read_text(encoding="utf-8")
        faults += [f"{file.relative_to(site)} loads {found}" for found in elsewhere_in(text)]
    return faults


def is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme not in ("", "data") or bool(parts.netloc)


def is_inline(address: str) -> bool:
    return address.startswith("data:")


def elsewhere_in(style: str) -> list[str]:
    found = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", style)
    return [address for pair in found for address in pair if address and is_elsewhere(address)]


def place_of(address: str, page: Path) -> Path:
    path = unquote(urlsplit(address).path)
    place = (page.parent / path).resolve() if path else page
    return place / "index.html" if place.is_dir() else place


def main() -> None:
    site = Path(sys.argv[1]).resolve()
    pages = len(list(site.rglob("*.html")))
    if not pages:
        sys.exit(f"no pages in {site}")
    faults = faults_of(site)
    for fault in faults[:FAULTS_SHOWN]:
        print(fault)
    if faults:
        sys.exit(f"{len(faults)} faults in {pages} pages")
    print(f"{pages} pages: every link leads somewhere, nothing is loaded from elsewhere")


if __name__ == "__main__":
    main()
