"""A W&B server that is not one: it says yes to everything, or never answers, and keeps every byte it was sent."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine.

    Args:
        silent: Take requests and never answer.
    """

    daemon_threads = True

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.silent = silent
        self.requests: list[tuple[str, bytes]] = []
        self.artifacts: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The variables of every GraphQL request of one kind, in order."""
        bodies = [json.loads(body) for path, body in self.requests if path == "/graphql"]
        return [body["variables"] for body in bodies if re.match(rf"\s*\w+ {operation}\b", body["query"])]

    def lines(self, run: str) -> dict[int, dict[str, Any]]:
        """The history of a run as a server keeps it: by line number, and a later line takes an earlier one's place."""
        kept: dict[int, dict[str, Any]] = {}
        for path, body in self.requests:
            if path.endswith(f"/{run}/file_stream"):
                chunk = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
                for number, line in enumerate(chunk.get("content", []), start=int(chunk.get("offset", 0))):
                    kept[number] = json.loads(line)
        return kept

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""

    def history(self) -> list[dict[str, Any]]:
        """The history rows that arrived, in order."""
        rows = []
        for path, body in self.requests:
            if path.endswith("/file_stream"):
                chunk = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
                rows += [json.loads(line) for line in chunk.get("content", [])]
        return rows


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append((self.path, body))
        while self.server.silent:
            time.sleep(0.1)
        answer = json.dumps({"data": self._answer(body)}).encode() if self.path == "/graphql" else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def _answer(self, body: bytes) -> dict[str, Any]:
        asked = json.loads(body)
        query, variables = asked["query"], asked.get("variables") or {}
        project = {"id": "1", "name": "p", "entity": {"id": "2", "name": "tester"}}
        if "upsertBucket" in query:
            bucket = {"id": "3", "name": variables["name"], "displayName": "n", "description": "", "config": "{}"}
            bucket |= {"sweepName": None, "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "3", "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in query:
            lines = self.server.lines(variables["name"])
            last = json.dumps([json.dumps(lines[max(lines)])]) if lines else "[]"
            bucket = {"id": "3", "name": variables["name"], "displayName": "n", "logLineCount": 0, "eventsLineCount": 0}
            bucket |= {"historyLineCount": len(lines), "historyTail": last, "eventsTail": "[]", "summaryMetrics": "{}"}
            bucket |= {"config": "{}", "tags": [], "notes": "", "wandbConfig": '{"t": 1}'}
            return {"model": {**project, "bucket": bucket if lines else None}}
        if answer := self._about_artifacts(query, variables):
            return answer
        if "viewer" in query:
            return {"viewer": {"id": "4", "entity": "tester", "username": "tester", "email": "", "flags": "{}"}}
        return {}

    def _about_artifacts(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """An artifact whose digest is known is committed already, as W&B has it."""
        upload = {"uploadUrl": f"{self.server.url}/upload/artifact", "uploadHeaders": []}
        if "mutation CreateArtifact " in query:
            asked = variables["input"]
            key = f"{asked['artifactCollectionName']}:{asked['digest']}"
            state = "COMMITTED" if key in self.server.artifacts else "PENDING"
            self.server.artifacts.setdefault(key, asked)
            artifact = {"id": key, "state": state, "artifactSequence": {"latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if "mutation CreateArtifactManifest " in query:
            return {"createArtifactManifest": {"artifactManifest": {"id": "6", "file": {"id": "7", **upload}}}}
        if "mutation UpdateArtifactManifest " in query:
            return {"updateArtifactManifest": {"artifactManifest": {"id": "6", "file": {"id": "7", **upload}}}}
        if "mutation CommitArtifact " in query:
            return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}
        if "mutation UseArtifact " in query:
            return {"useArtifact": {"artifact": {"id": variables["input"]["artifactID"]}}}
        return {}

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(*, silent: bool = False) -> Iterator[Server]:
    """A running server; it is shut down on leaving, and so are its waiting requests."""
    server = Server(silent=silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silent = False
        server.shutdown()
        server.server_close()
