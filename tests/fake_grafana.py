"""A local HTTP server that behaves as Grafana does for folders, datasources by uid, dashboards and their versions.

Statuses and messages are those of Grafana 9.4 to 13 for the same requests. `misbehave` makes it answer as proxies and
broken servers do.
"""

import base64
import contextlib
import copy
import json
import ssl
import time
from urllib.parse import unquote, urlsplit

from http_replies import ReplyHandler, ReplyServer

RIGHTS = {"viewer": {"GET"}, "editor": {"GET", "POST"}, "admin": {"GET", "POST", "PUT"}}


class FakeGrafana:
    """The state of the server; `url` is where it answers."""

    def __init__(self, sub_path="", anonymous=False, version="11.6.0"):
        self.sub_path = sub_path.strip("/")
        self.anonymous = anonymous
        self.version = version
        self.tokens = {"secret-admin": "admin", "secret-editor": "editor", "secret-viewer": "viewer"}
        self.password = ""
        self.folders = {}
        self.datasources = {}
        self.dashboards = {}
        self.provisioned = set()
        self.misbehave = None
        self.before_save = None
        self.requests = []
        self.url = ""

    # --- what tests put in ------------------------------------------------------------------------------------------

    def put_dashboard(self, model, folder="", message="", by="alice", provisioned=False):
        versions = self.dashboards.get(model["uid"], {}).get("versions", [])
        number = len(versions) + 1
        stored = {**copy.deepcopy(model), "id": 7, "version": number}
        versions = [{"version": number, "message": message, "createdBy": by}, *versions]
        self.dashboards[model["uid"]] = {"model": stored, "folder": folder, "versions": versions, "by": by}
        if provisioned:
            self.provisioned.add(model["uid"])

    # --- what it answers --------------------------------------------------------------------------------------------

    def answer(self, method, path, body, role):
        """Return (status, JSON)."""
        if path == "/api/health":
            return 200, {"commit": "0", "database": "ok", "version": self.version}
        if role is None:
            return 401, {"message": "Unauthorized", "messageId": "auth.unauthorized", "statusCode": 401}
        parts = [unquote(part) for part in path.split("/")[2:]]
        if parts[0] == "datasources" and role != "admin":
            return 403, {"message": "You'll need additional permissions to perform this action."}
        if method not in RIGHTS[role]:
            return 403, {
                "message": "You'll need additional permissions to perform this action.",
                "title": "Access denied",
            }
        handler = getattr(self, f"_{method.lower()}_{parts[0]}", None)
        return handler(parts[1:], body) if handler else (404, {"message": "Not found"})

    def _get_folders(self, rest, _body):
        if rest[0] in self.folders:
            return 200, {"uid": rest[0], "title": self.folders[rest[0]], "version": 1}
        return 404, {"message": "folder not found", "status": "not-found"}

    def _post_folders(self, _rest, body):
        if body["uid"] in self.folders:
            return 409, {"message": "a folder with the same uid already exists"}
        if body["title"] in self.folders.values():
            return 409, {"message": "a folder with the same name already exists in the current location"}
        self.folders[body["uid"]] = body["title"]
        return 200, {"uid": body["uid"], "title": body["title"]}

    def _get_datasources(self, rest, _body):
        if rest[:1] != ["uid"]:
            return 404, {"message": "Not found"}
        datasource = self.datasources.get(rest[1])
        return (200, datasource) if datasource else (404, {"message": "Data source not found"})

    def _post_datasources(self, _rest, body):
        if any(kept["name"] == body["name"] for kept in self.datasources.values()):
            return 409, {"message": "data source with the same name already exists"}
        self.datasources[body["uid"]] = {"id": 1, "readOnly": False, **body}
        return 200, {"datasource": body, "id": 1, "message": "Datasource added", "name": body["name"]}

    def _put_datasources(self, rest, body):
        if self.datasources[rest[1]].get("readOnly"):
            return 403, {"message": "Cannot update read-only data source"}
        self.datasources[rest[1]] = {"id": 1, "readOnly": False, **body}
        return 200, {"datasource": body, "id": 1, "message": "Datasource updated"}

    def _get_dashboards(self, rest, _body):
        kept = self.dashboards.get(rest[1])
        if kept is None:
            return 404, {"message": "Dashboard not found"}
        if rest[2:] == ["versions"]:
            modern = int(self.version.split(".")[0]) >= 11
            return 200, {"continueToken": "", "versions": kept["versions"]} if modern else kept["versions"]
        provisioned = rest[1] in self.provisioned
        meta = {
            "folderUid": kept["folder"],
            "folderTitle": self.folders.get(kept["folder"], "General"),
            "provisioned": provisioned,
            "provisionedExternalId": "boards.json" if provisioned else "",
            "version": kept["model"]["version"],
            "updatedBy": kept["by"],
        }
        return 200, {"dashboard": kept["model"], "meta": meta}

    def _post_dashboards(self, _rest, body):
        model = body["dashboard"]
        if self.before_save:
            self.before_save()
        kept = self.dashboards.get(model["uid"])
        if model["uid"] in self.provisioned:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if body.get("folderUid") and body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found", "status": "not-found"}
        if not model.get("title"):
            return 400, {"message": "Dashboard title cannot be empty", "status": "empty-name"}
        if kept and not body.get("overwrite") and model.get("version") != kept["model"]["version"]:
            message = "The dashboard has been changed by someone else"
            return 412, {"message": message, "status": "version-mismatch"}
        self.put_dashboard(model, body.get("folderUid", ""), body.get("message", ""), by="raymon-bot")
        return 200, {
            "uid": model["uid"],
            "status": "success",
            "version": self.dashboards[model["uid"]]["model"]["version"],
        }

    def role(self, authorization):
        """Return the role a request's login has: None for none or a wrong one."""
        if not authorization:
            return "viewer" if self.anonymous else None
        kind, _, value = authorization.partition(" ")
        if kind == "Bearer":
            return self.tokens.get(value)
        user, _, password = base64.b64decode(value).decode().partition(":")
        return "admin" if self.password and (user, password) == ("admin", self.password) else None


def html(status, text="Login"):
    """Return an answer as proxies give it: a web page."""
    return lambda _path: (status, {"Content-Type": "text/html"}, f"<html><title>{text}</title></html>".encode())


def redirect(to):
    """Return an answer that sends the client elsewhere."""
    return lambda _path: (302, {"Location": to}, b"")


def plain(status, body, kind="application/json"):
    """Return an answer with this body whatever is asked."""
    return lambda _path: (status, {"Content-Type": kind}, body)


def silence(seconds):
    """Return an answer that does not come for so long."""

    def wait(_path):
        time.sleep(seconds)
        return 200, {}, b""

    return wait


class _Handler(ReplyHandler):
    def _serve(self):
        fake = self.server.fake
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = urlsplit(self.path).path
        fake.requests.append((self.command, path, self.headers.get("Authorization")))
        prefix = f"/{fake.sub_path}" if fake.sub_path else ""
        if fake.misbehave and (answer := fake.misbehave(path)):
            status, headers, content = answer
        elif not path.startswith(f"{prefix}/api/"):
            status, headers, content = html(404, "Not found")(path)
        else:
            role = fake.role(self.headers.get("Authorization"))
            status, reply = fake.answer(self.command, path.removeprefix(prefix), body, role)
            headers, content = {"Content-Type": "application/json"}, json.dumps(reply).encode()
        self.reply(content, status, **headers)

    do_GET = do_POST = do_PUT = _serve


@contextlib.contextmanager
def running(certificate=None, **options):
    """Run a fake Grafana on a free port; `certificate` is a PEM file with key and certificate for https."""
    fake = FakeGrafana(**options)
    server = ReplyServer(_Handler)
    server.fake = fake
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    fake.url = f"{scheme}://127.0.0.1:{server.server_port}" + (f"/{fake.sub_path}" if fake.sub_path else "")
    with server:
        yield fake
