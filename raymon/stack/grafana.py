"""The one place that talks to Grafana's HTTP API: grafana-api, made safe against what real servers answer.

grafana-api turns a login page into a JSONDecodeError and some error pages into a TypeError, and follows redirects that
change a POST into a GET. Here every reply is examined before grafana-api sees it, so that a caller meets either the
answer it asked for or one `GrafanaError` in words.
"""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import requests

from raymon.stack.command_line import is_url

Auth = str | tuple[str, str] | None
"""A token, a user with a password, or nothing."""


class GrafanaError(Exception):
    """What went wrong, in one sentence that says what to do.

    Attributes:
        status: The HTTP status, 0 when there was no usable reply.
    """

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class Grafana:
    """A Grafana server.

    Example:
        >>> grafana = Grafana("https://example.org/grafana", token)  # doctest: +SKIP
        >>> grafana.dashboard("raymon-overview")["meta"]["folderTitle"]  # doctest: +SKIP
        'raymon'
    """

    def __init__(self, url: str, auth: Auth = None, timeout: float = 10.0, verify: bool | Path = True) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        parts = _taken_apart(self.url)
        from grafana_api.grafana_face import GrafanaFace  # of the extra `stack`; `raymon doctor` runs without it

        prefix = parts.path.strip("/")
        self._face = GrafanaFace(
            auth or "",
            host=f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname,
            port=parts.port,
            url_path_prefix=f"{prefix}/" if prefix else "",
            protocol=parts.scheme,
            verify=str(verify) if isinstance(verify, Path) else verify,
            timeout=timeout,
        )
        if auth is None:
            self._face.api.auth = lambda request: request  # None would send `Bearer None`, or what ~/.netrc holds
        self._face.api.s.hooks["response"].append(self._examine)

    # --- what is asked ----------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Return the server's own report: `database` and, where it tells, `version`. Needs no login."""
        told = self._ask("GET", "/health")
        if "database" not in told:
            raise GrafanaError(f"{self.url} answers, but not as Grafana does; is a sub-path missing from the URL?")
        return told

    def folder(self, uid: str) -> dict[str, Any] | None:
        """Return a folder, None when there is none of that uid."""
        return self._find(f"/folders/{quote(uid, safe='')}")

    def create_folder(self, title: str, uid: str) -> None:
        """Make a folder."""
        self._ask("POST", "/folders", {"title": title, "uid": uid})

    def datasource(self, uid: str) -> dict[str, Any] | None:
        """Return a datasource, None when there is none of that uid."""
        return self._find(f"/datasources/uid/{quote(uid, safe='')}")

    def create_datasource(self, datasource: dict[str, Any]) -> None:
        """Make a datasource; its uid is part of it."""
        self._ask("POST", "/datasources", datasource)

    def update_datasource(self, datasource: dict[str, Any]) -> None:
        """Change the datasource of the same uid."""
        self._ask("PUT", f"/datasources/uid/{quote(datasource['uid'], safe='')}", datasource)

    def dashboard(self, uid: str) -> dict[str, Any] | None:
        """Return a dashboard as `{"dashboard": model, "meta": …}`, None when there is none of that uid."""
        found = self._find(f"/dashboards/uid/{quote(uid, safe='')}")
        if found is None:
            return None
        if not (isinstance(found.get("dashboard"), dict) and isinstance(found.get("meta", {}), dict)):
            raise GrafanaError(f"{self.url} gave no model for the dashboard {uid}: check what a proxy in front does")
        return found

    def latest_message(self, uid: str) -> str | None:
        """Return the message of a dashboard's latest version, None where the server does not tell."""
        try:
            told = self._request("GET", f"/dashboards/uid/{quote(uid, safe='')}/versions?limit=1")
        except GrafanaError:
            return None
        versions = told.get("versions", []) if isinstance(told, dict) else told
        if not isinstance(versions, list) or not versions or not isinstance(versions[0], dict):
            return None
        return str(versions[0].get("message") or "")

    def save_dashboard(self, model: dict[str, Any], folder_uid: str, message: str, overwrite: bool) -> None:
        """Save a dashboard.

        Raises:
            GrafanaError: Also when the model's `version` is not the server's latest, unless `overwrite`.
        """
        body = {"dashboard": model, "folderUid": folder_uid, "message": message, "overwrite": overwrite}
        self._ask("POST", "/dashboards/db", body)

    # --- how it is asked --------------------------------------------------------------------------------------------

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self._ask("GET", path)
        except GrafanaError as error:
            if error.status == 404:
                return None
            raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        told = self._request(method, path, body)
        if not isinstance(told, dict):
            raise GrafanaError(f"{self.url}/api{path} answered unlike Grafana 9.4 and newer do; check the URL")
        return told

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | list[Any]:
        try:
            told: dict[str, Any] | list[Any] = getattr(self._face.api, method)(path, json=body)
        except requests.exceptions.SSLError as error:
            raise GrafanaError(
                f"TLS error at {self.url}: {_root(error)}; give the authority's certificate with --ca-file"
            ) from None
        except requests.exceptions.Timeout:
            raise GrafanaError(f"{self.url} did not answer within {self.timeout:g} s; --timeout allows more") from None
        except requests.exceptions.RequestException as error:
            raise GrafanaError(f"{self.url} cannot be reached: {_root(error)}") from None
        return told

    def _examine(self, reply: requests.Response, **_: object) -> None:
        status = reply.status_code
        if 300 <= status < 400:
            where = reply.headers.get("Location", "nowhere")
            raise GrafanaError(
                f"{reply.url} redirects to {where}: a login page or a moved server; give the URL it moved to, "
                "and a token that a proxy in front lets through",
                status,
            )
        try:
            told = reply.json()
        except ValueError:
            raise GrafanaError(_no_json(reply), status) from None
        if status >= 400:
            message = told.get("message") or told.get("error") if isinstance(told, dict) else None
            kind = str(told.get("status") or "") if isinstance(told, dict) else ""
            raise GrafanaError(_refusal(status, str(message or reply.reason)[:300].rstrip("."), kind), status)


def _taken_apart(url: str) -> SplitResult:
    if not is_url(url) or urlsplit(url).query or urlsplit(url).fragment:
        raise GrafanaError(f"{url!r} is not the address of a Grafana: expected http(s)://host[:port][/sub-path]")
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise GrafanaError("the URL holds a user name or password: give them with --user and --password-file instead")
    return parts


def _no_json(reply: requests.Response) -> str:
    kind = reply.headers.get("Content-Type", "").partition(";")[0] or "no type"
    if not reply.content:
        found = "an empty reply"
    elif "html" in kind:
        found = "a web page"
    else:
        found = f"{kind}, not JSON"
    if reply.status_code >= 400:
        hint = "the server or a proxy before it failed" if reply.status_code >= 500 else "is a sub-path missing?"
        return f"{reply.url} answered HTTP {reply.status_code} with {found}: {hint}"
    return f"{reply.url} answered with {found} instead of JSON: a login page or another program; check the URL"


_ADVICE = {
    401: "the token is missing, wrong or expired: make one under Administration, Service accounts",
    403: "the token lacks the right: its service account needs the role Editor, and Admin for the datasource",
    404: "nothing is there: check the URL, its sub-path and the uid",
    409: "something of the same name exists under another uid: rename or remove it in Grafana",
    412: "somebody changed it meanwhile: look at --dry-run, then push again, or use --force",
}


def _refusal(status: int, message: str, kind: str) -> str:
    if "provisioned" in message.lower() or "read-only" in message.lower():
        advice = "it comes from a file on the server: change it there, or remove that provisioning"
    elif status == 400 and "folder" in message.lower():
        advice = "the folder is gone or not visible to this token"
    elif status == 412 and kind == "name-exists":
        advice = "another dashboard in the folder has this title: rename it, or push to another --folder-uid"
    elif status >= 500:
        advice = "Grafana itself failed: look at its log"
    else:
        advice = _ADVICE.get(status, "Grafana refused it")
    return f"HTTP {status}, {message}: {advice}"


def _root(error: BaseException) -> str:
    """Return the innermost reason of a network error, without the addresses of Python objects."""
    reason: object = error
    while (inner := getattr(reason, "reason", None) or (getattr(reason, "args", None) or [None])[0]) is not None:
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return str(reason).rpartition(">: ")[2] or type(error).__name__
