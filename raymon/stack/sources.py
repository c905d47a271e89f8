"""Where Prometheus finds the metrics endpoints of Ray's nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raymon.cluster.discovery import ray_temp_dir


@dataclass(frozen=True, slots=True)
class Sources:
    """Sources of addresses; several may be given, none means the local Ray's temp dir.

    Attributes:
        temp_dirs: Ray temp dirs, each with a discovery file that follows its newest session.
        dashboard_urls: Ray Dashboards that list their nodes over HTTP.
        targets: Fixed `host:port` addresses.
        token_file: A file with the token for the Ray Dashboards, None for none.
    """

    temp_dirs: tuple[Path, ...] = ()
    dashboard_urls: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    token_file: Path | None = None

    @property
    def named(self) -> bool:
        """Whether there is any source."""
        return bool(self.temp_dirs or self.dashboard_urls or self.targets)

    def and_also(self, earlier: "Sources") -> "Sources":
        """Return both sources, each once."""
        return Sources(
            tuple(dict.fromkeys((*earlier.temp_dirs, *self.temp_dirs))),
            tuple(dict.fromkeys((*earlier.dashboard_urls, *self.dashboard_urls))),
            tuple(dict.fromkeys((*earlier.targets, *self.targets))),
            self.token_file or earlier.token_file,
        )

    def or_else(self, earlier: "Sources") -> "Sources":
        """Return these sources, or the earlier ones when there are none."""
        return self if self.named else replace(earlier, token_file=self.token_file or earlier.token_file)

    def or_local(self) -> "Sources":
        """Return these sources, or the local Ray's temp dir when there are none."""
        return self if self.named else Sources(temp_dirs=(ray_temp_dir(),))

    def plain(self) -> dict[str, Any]:
        """Return the sources as JSON holds them."""
        return {
            "temp_dirs": [str(folder) for folder in self.temp_dirs],
            "dashboard_urls": list(self.dashboard_urls),
            "targets": list(self.targets),
            "token_file": str(self.token_file) if self.token_file else "",
        }

    @classmethod
    def from_plain(cls, record: Mapping[str, Any]) -> "Sources":
        """Return what `plain` wrote; nothing for an empty mapping.

        Raises:
            TypeError: It is something else.
        """
        folders, urls, targets = (record.get(key, []) for key in ("temp_dirs", "dashboard_urls", "targets"))
        token_file = record.get("token_file", "")
        lists = (folders, urls, targets)
        if not all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            raise TypeError("a list of sources is something else")
        if not isinstance(token_file, str):
            raise TypeError("the token file is something else")
        paths = tuple(Path(folder) for folder in folders)
        return cls(paths, tuple(urls), tuple(targets), Path(token_file) if token_file else None)
