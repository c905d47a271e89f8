"""The two READMEs have the same sections, commands, links and numbers; every linked file exists."""

import re

import pytest
from support import ROOT

README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()


def outside_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("heading levels", r"^(#+) "),
        ("code blocks", r"(?s)```(?:\w+)\n(.*?)```"),
        ("table rows", r"^\|(?!-)[^\n]*\|$"),
    ],
)
def test_both_readmes_have_the_same(what, pattern):
    def parts(text):
        matches = re.findall(pattern, text, re.MULTILINE)
        return len(matches) if what == "table rows" else matches

    assert parts(README), what
    assert parts(README) == parts(CHINESE), what


def test_both_readmes_link_the_same_files():
    def links(text):
        return sorted(set(re.findall(r"\]\(([^)]+)\)", outside_code(text))) - {"README.md", "README.zh-CN.md"})

    assert links(README) == links(CHINESE)
    missing = [link for link in links(README) if not link.startswith("http") and not (ROOT / link).exists()]
    assert not missing, f"links to files that do not exist: {missing}"


def test_both_readmes_state_the_same_numbers():
    def numbers(text):
        return sorted(re.findall(r"\d+(?:[.,]\d+)*", outside_code(text)))

    assert numbers(README) == numbers(CHINESE)


def test_both_readmes_name_the_same_commands():
    def commands(text):
        return sorted(re.findall(r"`((?:raymon|make|pip|config)\b[^`]*)`", outside_code(text)))

    assert commands(README) == commands(CHINESE)
