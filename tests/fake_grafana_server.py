"""A `grafana-server` for PATH: reads the configuration it is given as Grafana does, and answers on its port.

It serves `/api/health`, and `/provisioned`: what a Grafana would have loaded from its provisioning folder.
"""

import argparse
import configparser
import json
import os
import re
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import yaml
from http_replies import ReplyHandler

parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--homepath")
args = parser.parse_args()
ini = configparser.RawConfigParser()
ini.read_string("\n".join(line for line in args.config.read_text().splitlines() if not line.startswith("#")))
if os.environ.get("FAKE_GRAFANA_FAILS"):
    sys.exit("Error: ✗ *api.HTTPServer run error: the fake has to fail")


def secret(text):
    match = re.fullmatch(r"\$__file\{(.+)\}", text)
    return Path(match[1]).read_text().strip() if match else text


def provisioned():
    folder = Path(ini["paths"]["provisioning"])
    sources = [
        source
        for path in sorted((folder / "datasources").glob("*.yml"))
        for source in yaml.safe_load(path.read_text())["datasources"]
    ]
    boards = {}
    for path in sorted((folder / "dashboards").glob("*.yml")):
        for provider in yaml.safe_load(path.read_text())["providers"]:
            files = Path(provider["options"]["path"]).rglob("*.json")
            boards[provider["folder"]] = sorted(json.loads(file.read_text())["uid"] for file in files)
    return {
        "datasources": sources,
        "dashboards": boards,
        "ini": {name: dict(section) for name, section in ini.items()},
        "password": secret(ini["security"]["admin_password"]),
        "overrides": sorted(name for name in os.environ if name.startswith("GF_")),
    }


class Handler(ReplyHandler):
    def do_GET(self):
        reply = {"database": "ok", "version": "11.6.0"} if self.path == "/api/health" else provisioned()
        self.reply(json.dumps(reply).encode(), content_type="application/json")


server = ThreadingHTTPServer((ini["server"]["http_addr"], int(ini["server"]["http_port"])), Handler)
threading.Thread(target=server.serve_forever).start()
