"""Parts that the page and the reports share: a document, a panel, a table, the box with a verdict."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from raymon.html.markup import Child, Html, join, tag, with_code
from raymon.html.words import headline, verdict_shape

_STYLE: Final = Path(__file__).with_name("style.css")


def document(title: str, body: Html, css: str = "", script: str = "") -> str:
    """Return a whole HTML document in the style of the page, which requests nothing from any network."""
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8") + css)),
    )
    content = tag("body", body, tag("script", Html(script)) if script else None)
    return f"<!doctype html>\n{tag('html', tag('head', head), content, lang='en')}\n"


def panel(
    title: Child, small: Child, *body: Child, css: str = "panel", section: str | None = None, meaning: str | None = None
) -> Html:
    """Return a section with a heading.

    Args:
        title: The heading.
        small: Shown next to the heading in small type, if there is any.
        body: What the section holds.
        css: Its classes.
        section: Its name for the tests and scripts of the page.
        meaning: The help text of the heading.
    """
    note = small if isinstance(small, Html) else tag("small", small) if small else None
    heading = tag("h2", title, note, data_help=meaning, tabindex="0" if meaning else None)
    return tag("section", heading, *body, class_=css, data_section=section)


def table(titles: Sequence[str], rows: Iterable[Sequence[Child]]) -> Html:
    """Return a table that scrolls sideways where it does not fit."""
    body = [tag("tr", *[tag("td", cell) for cell in row]) for row in rows]
    return scrolling(tag("tr", *[tag("th", title) for title in titles]), body)


def scrolling(head: Html, rows: Iterable[Html]) -> Html:
    """Return a table of finished rows that scrolls sideways where it does not fit."""
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")


def verdict_box(
    code: str, severity: str, sentence: str, advice: str, findings: Sequence[Html], *more: Child, **attributes: str
) -> Html:
    """Return the box with a verdict: headline, sentence, advice, further findings, and what follows them.

    In sentence and advice, code stands between backticks.
    """
    return tag(
        "section",
        tag("div", verdict_shape(code, severity), tag("span", headline(code)), class_="headline"),
        tag("p", with_code(sentence), class_="sentence"),
        tag("p", tag("b", "What to do"), " ", with_code(advice), class_="advice") if advice else None,
        tag("ul", *findings, class_="evidence") if findings else None,
        *more,
        class_=f"verdict severity-{severity}",
        **attributes,
    )


def fact(name: str, value: Child, meaning: str) -> Html:
    """Return one entry of a list of figures, with its help text."""
    return tag("div", tag("dt", name, data_help=meaning, tabindex="0"), tag("dd", value))


def choice_buttons(chosen: str, options: Iterable[tuple[str, str]], field: str, label: str, css: str = "chips") -> Html:
    """Return a row of buttons, each for one value of a field of the viewer's choice.

    Args:
        chosen: The value that is chosen now.
        options: Values and the text of their buttons.
        field: The field of `raymon.page.choice.Choice`.
        label: What is chosen, for screen readers.
        css: Classes of the row.
    """
    buttons = [
        tag(
            "button",
            text,
            type="button",
            class_="chip",
            data_set=f"{field}={value}",
            aria_pressed="true" if value == chosen else "false",
        )
        for value, text in options
    ]
    return tag("div", *buttons, class_=css, role="group", aria_label=label)


def worker_button(worker: str, css: str) -> Html:
    """Return a button with the name of a worker that opens its detail."""
    label = f"Worker {worker}, open detail"
    return tag("button", worker, type="button", class_=css, data_set=f"worker={worker}", aria_label=label)
