"""A page as its elements, read without a browser."""

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "line", "rect", "path", "circle"}


class Page(HTMLParser):
    """Every element with its attributes and text, and whether all were closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"left open: {[self.elements[index][0] for index in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for index in self.open:
            self.elements[index][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of each element of a tag; ``class_`` has to be among the element's classes."""
        class_name = attributes.pop("class_", None)
        wanted = {key.replace("_", "-"): value for key, value in attributes.items()}
        return [
            (attrs, " ".join("".join(text).split()))
            for name, attrs, text in self.elements
            if name == tag
            and wanted.items() <= attrs.items()
            and (class_name is None or class_name in (attrs.get("class") or "").split())
        ]
