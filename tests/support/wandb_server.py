"""A Weights & Biases server on the loopback that answers what wandb-core asks, and keeps what it was sent."""

import base64
import contextlib
import http.server
import json
import re
import sys
import threading
from dataclasses import dataclass, field

ENTITY = "tester"
TELEMETRY = "/sdk/otel/v1/"


@dataclass
class Run:
    """A run as the server knows it."""

    bucket: dict
    history: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def tail(self):
        """What a run that is resumed goes on from."""
        own = {"id": self.bucket["name"], "name": self.bucket["name"], "displayName": self.bucket.get("displayName")}
        lines = [json.dumps(row) for row in self.history[-1:]]
        return {
            **own,
            "config": self.bucket["config"],
            "tags": self.bucket.get("tags"),
            "notes": None,
            "summaryMetrics": json.dumps(self.summary),
            "historyTail": json.dumps(lines),
            "historyLineCount": len(self.history),
            "eventsTail": "[]",
            "eventsLineCount": 0,
            "logLineCount": 0,
            "wandbConfig": json.dumps({"t": 1}),
        }

    @property
    def config(self):
        """The settings, without those that W&B adds."""
        stored = json.loads(self.bucket["config"])
        return {name: entry["value"] for name, entry in stored.items() if name != "_wandb"}


@dataclass
class Artifact:
    """An artifact as the server knows it: what it was announced by, and its files by their paths."""

    about: dict
    files: dict = field(default_factory=dict)
    committed: bool = False


class WandbServer:
    """The server; :meth:`running` opens and closes it.

    ``broken`` is set to answer 500 to everything; ``breaks_in_the_middle`` does it after the first part of a stream.
    """

    def __init__(self, *, breaks_in_the_middle=False, allows_reports=True):
        self.breaks_in_the_middle = breaks_in_the_middle
        self.allows_reports = allows_reports
        self.broken = threading.Event()
        self.refused = 0
        self.requests, self.unknown = [], []
        self.runs, self.artifacts, self.reports = {}, {}, []
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def running(self):
        with Listener(("127.0.0.1", 0), Handler) as listener:
            listener.wandb = self
            self.url = f"http://127.0.0.1:{listener.server_port}"
            thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                listener.shutdown()
                thread.join(10)

    @property
    def sent(self):
        """All that was received, as one text of bytes, but the header that may hold the key."""
        return b"\n".join(b" ".join((head.encode(), body)) for head, body in self.requests)

    def answer(self, method, path, headers, body):
        """The status and the value that answer a request."""
        shown = [f"{name}: {value}" for name, value in headers.items() if name.lower() != "authorization"]
        with self.lock:
            self.requests.append(("\n".join((f"{method} {path}", *shown)), body))
            if self.broken.is_set():
                self.refused += 1
                return 500, {"error": "broken"}
            if method == "PUT" and (place := re.fullmatch("/upload/(run|artifact)/([^/]+)/(.+)", path)):
                kept = self.runs if place[1] == "run" else self.artifacts
                kept[place[2]].files[place[3]] = body
                return 200, {}
            if method == "POST" and (place := re.fullmatch("/files/[^/]+/[^/]+/([^/]+)/file_stream", path)):
                return 200, self.stream(self.runs[place[1]], json.loads(body))
            if method == "POST" and path == "/graphql":
                return 200, self.ask(**json.loads(body))
            if path == "/" or path.startswith(TELEMETRY):
                return 200, {}
            self.unknown.append(f"{method} {path}")
            return 404, {}

    def stream(self, run, sent):
        """Take a part of a run's stream: rows at an offset, a summary, the exit code at the end."""
        files = sent.get("files") or {}
        if rows := files.get("wandb-history.jsonl"):
            run.history[rows["offset"] :] = [json.loads(line) for line in rows["content"]]
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]
        if self.breaks_in_the_middle:
            self.broken.set()
        return {"limits": {}}

    def ask(self, query, variables=None, **rest):
        """Answer GraphQL by the name of the operation."""
        operation = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
        answer = getattr(self, f"on_{operation[1]}", None) if operation else None
        if operation and operation[1] == "upsertView" and not self.allows_reports:
            return {"errors": [{"message": "permission denied"}], "data": None}
        if answer is None:
            self.unknown.append(query)
            return {"errors": [{"message": "unknown"}], "data": None}
        return {"data": answer(variables or {})}

    def on_Viewer(self, asked):  # noqa: N802
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        viewer = {"id": "viewer", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
        return {"viewer": viewer}

    def on_ArtifactType(self, asked):  # noqa: N802
        return {"project": {"artifact": None}}

    def on_ServerFeaturesQuery(self, asked):  # noqa: N802
        return {"serverInfo": {"features": []}}

    def on_RunResumeStatus(self, asked):  # noqa: N802
        entity = {"id": "entity", "name": ENTITY}
        run = self.runs.get(asked["name"])
        return {"model": {"id": "project", "name": asked["project"], "entity": entity, "bucket": run and run.tail}}

    def on_UpsertBucket(self, asked):  # noqa: N802
        name = asked["name"]
        new = name not in self.runs
        run = self.runs.setdefault(name, Run(bucket={}))
        run.bucket |= {key: value for key, value in asked.items() if value is not None}
        project = {"id": "project", "name": asked["project"], "entity": {"id": "entity", "name": ENTITY}}
        about = {key: run.bucket.get(key) for key in ("displayName", "description", "config")}
        bucket = {"id": name, "name": name, **about, "project": project, "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def on_RunStoppedStatus(self, asked):  # noqa: N802
        return {"project": {"run": {"stopped": False}}}

    def on_CreateRunFiles(self, asked):  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/run/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, asked):  # noqa: N802
        name = str(len(self.artifacts))
        self.artifacts[name] = Artifact(asked["input"])
        return {"createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": {}}}}

    def on_CreateArtifactManifest(self, asked):  # noqa: N802
        url = f"{self.url}/upload/artifact/{asked['artifactID']}/{asked['name']}"
        manifest = {"id": asked["artifactID"], "file": {"id": "file", "uploadUrl": url, "uploadHeaders": []}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def on_UpdateArtifactManifest(self, asked):  # noqa: N802
        url = f"{self.url}/upload/artifact/{asked['artifactManifestID']}/wandb_manifest.json"
        manifest = {
            "id": asked["artifactManifestID"],
            "file": {"id": "file", "uploadUrl": url, "uploadHeaders": []},
        }
        return {"updateArtifactManifest": {"artifactManifest": manifest}}

    def on_CreateArtifactFiles(self, asked):  # noqa: N802
        def node(file):
            path = f"{file['artifactID']}/{file['name']}"
            url = f"{self.url}/upload/artifact/{path}"
            own = {"storagePath": path, "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            return {"node": {**own, "artifact": {"id": file["artifactID"]}}}

        edges = [node(file) for file in asked["input"]["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_GetProjects(self, asked):  # noqa: N802
        about = {"id": "project", "name": "aepretrain", "entityName": ENTITY, "createdAt": "", "isBenchmark": False}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": {"__typename": "Project", **about, "user": None}}]}}

    def on_ProjectInternalId(self, asked):  # noqa: N802
        return {"project": {"id": "project", "internalId": base64.b64encode(b"ProjectInternalId:7").decode()}}

    def on_upsertView(self, asked):  # noqa: N802
        self.reports.append(asked)
        project = {"id": "project", "name": asked["projectName"], "entityName": asked["entityName"]}
        own = {name: asked[name] for name in ("type", "name", "displayName", "description", "spec")}
        view = {"id": "report", **own, "project": project, "updatedAt": "2026-01-01T00:00:00"}
        return {"upsertView": {"view": view, "inserted": True}}

    def on_CommitArtifact(self, asked):  # noqa: N802
        artifact = self.artifacts[asked["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": artifact.about["digest"]}}}


class Listener(http.server.ThreadingHTTPServer):
    """Connections that a client leaves open, or resets, are no errors here."""

    block_on_close = False

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands every request over to the :class:`WandbServer`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._bytes()
        status, value = self.server.wandb.answer(self.command, self.path, self.headers, body)
        words = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    def _bytes(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *args):
        pass
