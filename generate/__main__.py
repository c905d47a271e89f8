"""Write the generated files, or with --check compare them: exit code 1 names those that are not current."""

import argparse
import sys
from pathlib import Path

from generate.files import generated

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Write or compare every generated file."""
    parser = argparse.ArgumentParser(prog="python -m generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; name what is not current")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    given = parser.parse_args()
    stale = []
    for name, text in generated().items():
        path = given.root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not given.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if given.check and stale:
        print(f"not current: {', '.join(stale)}; run python -m generate and check in the result", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {name}" for name in stale) or "every generated file is current")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
