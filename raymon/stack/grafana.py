"""Grafana's HTTP API: the client grafana-api, with checks of what real servers answer.

grafana-api turns a login page into a JSONDecodeError and some error pages into a TypeError, and follows redirects that
change a POST into a GET. Here every reply is bounded in size and time and checked before grafana-api sees it: a caller
gets either the reply it expects or one `GrafanaError` in words.
"""

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit

import requests
import urllib3

from raymon.cluster.http import is_url
from raymon.cluster.ownership import is_loopback
from raymon.errors import UserError
from raymon.format import printable
from raymon.stack.deadline import bounded

Auth = str | tuple[str, str] | None
"""A token, a user with a password, or nothing."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""A dashboard has well below one; a larger reply is refused."""


class GrafanaError(UserError):
    """Grafana does not answer, refuses a request or answers something else.

    Attributes:
        status: The HTTP status, 0 when there was no usable reply.
    """

    exit_code = 1

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(printable(sentence, 1000))
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
        parts = _split(self.url)
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
        session = self._face.api.s
        session.hooks["response"].append(self._check)
        session.mount("http://", _BoundedAdapter())
        session.mount("https://", _BoundedAdapter())
        if is_loopback(parts.hostname or ""):
            session.trust_env = False  # a proxy would see the login of a server on this machine

    # --- requests ---------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Return the server's health: `database` and, if it is shown, `version`. Needs no login."""
        health = self._ask("GET", "/health")
        if not isinstance(health.get("database"), str):
            raise GrafanaError(f"{self.url} answers, but not as Grafana does; is a sub-path missing from the URL?")
        return health

    def folder(self, uid: str) -> dict[str, Any] | None:
        """Return a folder, None if nothing has that uid."""
        return self._find(f"/folders/{quote(uid, safe='')}")

    def create_folder(self, title: str, uid: str) -> None:
        """Create a folder."""
        self._ask("POST", "/folders", {"title": title, "uid": uid})

    def datasource(self, uid: str) -> dict[str, Any] | None:
        """Return a datasource, None if nothing has that uid."""
        return self._find(f"/datasources/uid/{quote(uid, safe='')}")

    def create_datasource(self, datasource: dict[str, Any]) -> None:
        """Create a datasource; its uid is part of it."""
        self._ask("POST", "/datasources", datasource)

    def update_datasource(self, datasource: dict[str, Any]) -> None:
        """Change the datasource of the same uid."""
        self._ask("PUT", f"/datasources/uid/{quote(datasource['uid'], safe='')}", datasource)

    def dashboard(self, uid: str) -> dict[str, Any] | None:
        """Return a dashboard as `{"dashboard": model, "meta": …}`, None if nothing has that uid."""
        reply = self._find(f"/dashboards/uid/{quote(uid, safe='')}")
        if reply is None:
            return None
        if not (_is_model(reply.get("dashboard")) and isinstance(reply.get("meta", {}), dict)):
            raise GrafanaError(f"{self.url} gave no model for the dashboard {uid}: check what a proxy in front does")
        return reply

    def latest_message(self, uid: str) -> str | None:
        """Return the message of a dashboard's latest version, None if the server does not show it."""
        try:
            reply = self._request("GET", f"/dashboards/uid/{quote(uid, safe='')}/versions?limit=1")
        except GrafanaError:
            return None
        versions = reply.get("versions", []) if isinstance(reply, dict) else reply
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

    # --- transport --------------------------------------------------------------------------------------------------

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self._ask("GET", path)
        except GrafanaError as error:
            if error.status == 404:
                return None
            raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        reply = self._request(method, path, body)
        if not isinstance(reply, dict):
            raise GrafanaError(f"{self.url}/api{path} answered unlike Grafana 9.4 and newer do; check the URL")
        return reply

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | list[Any]:
        try:
            call = functools.partial(getattr(self._face.api, method), path, json=body)
            reply: dict[str, Any] | list[Any] = bounded(call, 2 * self.timeout)
        except requests.exceptions.SSLError as error:
            raise GrafanaError(
                f"TLS error at {self.url}: {_root(error)}; give the authority's certificate with --ca-file"
            ) from None
        except (requests.exceptions.Timeout, TimeoutError):
            raise GrafanaError(f"{self.url} did not answer within {self.timeout:g} s; --timeout allows more") from None
        except requests.exceptions.RequestException as error:
            raise GrafanaError(f"{self.url} cannot be reached: {_root(error)}") from None
        return reply

    def _check(self, reply: requests.Response, **_: object) -> None:
        status = reply.status_code
        if 300 <= status < 400:
            where = reply.headers.get("Location", "nowhere")
            raise GrafanaError(
                f"{reply.url} redirects to {where}: a login page or a moved server; give the URL it moved to, "
                "and a token that a proxy in front lets through",
                status,
            )
        try:
            document = reply.json()
        except (ValueError, RecursionError):
            raise GrafanaError(_no_json(reply), status) from None
        if status >= 400:
            message = document.get("message") or document.get("error") if isinstance(document, dict) else None
            kind = str(document.get("status") or "") if isinstance(document, dict) else ""
            raise GrafanaError(_refusal(status, str(message or reply.reason)[:300].rstrip("."), kind), status)


def _split(url: str) -> SplitResult:
    if not is_url(url) or urlsplit(url).query or urlsplit(url).fragment:
        raise GrafanaError(f"{url!r} is not the address of a Grafana: expected http(s)://host[:port][/sub-path]")
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise GrafanaError("the URL holds a user name or password: give them with --user and --password-file instead")
    return parts


class _BoundedAdapter(requests.adapters.HTTPAdapter):
    """Read every reply within a size, and only uncompressed: a few kilobytes of gzip can become gigabytes."""

    def send(  # the signature is that of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: Any = None,  # noqa: ANN401
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().send(request, True, timeout, verify, cert, proxies)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise GrafanaError(f"{request.url} answers compressed ({encoding}), which was not asked for")
        try:
            with response.raw as raw:
                body = raw.read(MOST_BYTES + 1)
        except urllib3.exceptions.HTTPError as error:
            raise requests.exceptions.ConnectionError(error, request=request) from error
        if len(body) > MOST_BYTES:
            raise GrafanaError(f"{request.url} answers with more than {MOST_BYTES / 1e6:.0f} MB")
        response.raw = io.BytesIO(body)
        return response


def _is_model(model: object) -> bool:
    """Return whether this has the shape of a dashboard, as far as raymon reads it."""
    if not isinstance(model, dict):
        return False
    tags = model.get("tags")
    return (tags is None or isinstance(tags, list)) and _are_panels(model.get("panels"))


def _are_panels(panels: object) -> bool:
    if panels is None:
        return True
    if not isinstance(panels, list):
        return False
    for panel in panels:
        if not isinstance(panel, dict) or not isinstance(panel.get("title", ""), str):
            return False
        targets = panel.get("targets") or []
        if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
            return False
        if not all(isinstance(target.get("expr", ""), str) for target in targets) or not _are_panels(
            panel.get("panels")
        ):
            return False
    return True


def _no_json(reply: requests.Response) -> str:
    kind = reply.headers.get("Content-Type", "").partition(";")[0] or "no type"
    if not reply.content:
        content = "an empty reply"
    elif "html" in kind:
        content = "a web page"
    else:
        content = f"{kind}, not JSON"
    if reply.status_code >= 400:
        hint = "the server or a proxy before it failed" if reply.status_code >= 500 else "is a sub-path missing?"
        return f"{reply.url} answered HTTP {reply.status_code} with {content}: {hint}"
    return f"{reply.url} answered with {content} instead of JSON: a login page or another program; check the URL"


_ADVICE = {
    401: "the token is missing, wrong or expired: create one under Administration, Service accounts",
    403: "the token lacks the right: its service account needs the role Editor, and Admin for the datasource",
    404: "nothing is there: check the URL, its sub-path and the uid",
    409: "something of the same name exists under another uid: rename or remove it in Grafana",
    412: "it was changed since it was read: run with --dry-run, then push again, or use --force",
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
