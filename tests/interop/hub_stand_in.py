"""A stand-in for the Hugging Face Hub: repositories, commits and downloads over HTTP, kept in memory.

It speaks what ``huggingface_hub`` asks for when it makes a repository, commits files to it (small ones inside the
commit, weights by Git LFS's basic transfer) and downloads them. The Hub's Xet storage, which is not HTTP, is left out.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

REPO = r"(?P<repo>[^/]+/[^/]+)"
LARGE = (".safetensors",)


@dataclass
class Stored:
    """One repository."""

    private: bool
    files: dict = field(default_factory=dict)
    commits: list = field(default_factory=list)

    @property
    def sha(self):
        """The name of its last commit."""
        return hashlib.sha1(repr(self.commits).encode()).hexdigest()


class HubStandIn(ThreadingHTTPServer):
    """The server; ``requests`` lists what it was asked, ``refuses_commits`` makes it say no."""

    def __init__(self, token):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.refuses_commits = token, False
        self.repositories, self.large, self.requests = {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    ROUTES = (
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"/api/models/{REPO}/preupload/main", "preupload"),
        ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<digest>[0-9a-f]{64})", "put_large"),
        ("POST", rf"/api/models/{REPO}/commit/main", "commit"),
        ("GET", rf"/api/models/{REPO}(/revision/[^/]+)?", "describe"),
        ("GET", rf"/api/models/{REPO}/tree/[^/]+", "tree"),
        ("GET", rf"/{REPO}/resolve/[^/]+/(?P<name>.+)", "resolve"),
    )

    def log_message(self, *_):
        pass

    def answer_any(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, method = unquote(urlsplit(self.path).path), self.command.replace("HEAD", "GET")
        self.server.requests.append(f"{self.command} {path}")
        if method == "POST" and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.refuse(401, "Invalid credentials in Authorization header")
        for known, pattern, name in self.ROUTES:
            if known == method and (found := re.fullmatch(pattern, path)):
                return getattr(self, name)(**{key: text for key, text in found.groupdict().items() if text})
        return self.refuse(404, f"the stand-in has no {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = answer_any

    def answer(self, value, code=200, **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(text))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, code, message):
        self.answer({"error": message}, code, X_Error_Message=message)

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.address}/{name}"}
        if name in self.server.repositories:
            return self.answer({**url, "error": "You already created this model repo"}, 409)
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.server.repositories[name] = Stored(private)
        return self.answer(url)

    def validate(self):
        header = json.loads(self.body)["content"].split("---\n")[1]
        fields = yaml.safe_load(header)
        wrong = [] if isinstance(fields, dict) and isinstance(fields["tags"], list) else [{"message": "tags: no list"}]
        self.answer({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def preupload(self, repo):
        files = [
            {"path": each["path"], "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular"}
            for each in json.loads(self.body)["files"]
        ]
        self.answer({"files": [{**each, "shouldIgnore": False, "oid": None} for each in files]})

    def batch(self, repo):
        objects = json.loads(self.body)["objects"]
        actions = [{"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}} for each in objects]
        answers = [{**each, "actions": action} for each, action in zip(objects, actions, strict=True)]
        self.answer({"transfer": "basic", "objects": answers})

    def put_large(self, digest):
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self.refuse(400, "the content has another hash")
        self.server.large[digest] = self.body
        return self.answer({})

    def commit(self, repo):
        if self.server.refuses_commits:
            return self.refuse(403, "you may not write to this repository")
        stored = self.server.repositories[repo]
        lines = [json.loads(line) for line in self.body.splitlines()]
        for value in (line["value"] for line in lines if line["key"] == "file"):
            stored.files[value["path"]] = base64.b64decode(value["content"])
        for value in (line["value"] for line in lines if line["key"] == "lfsFile"):
            stored.files[value["path"]] = self.server.large[value["oid"]]
        stored.commits.append(lines[0]["value"]["summary"])
        url = f"{self.server.address}/{repo}/commit/{stored.sha}"
        return self.answer({"commitUrl": url, "commitOid": stored.sha, "pullRequestUrl": None})

    def describe(self, repo):
        if repo not in self.server.repositories:
            return self.refuse(404, "Repository not found")
        stored = self.server.repositories[repo]
        siblings = [{"rfilename": name} for name in stored.files]
        return self.answer({"id": repo, "sha": stored.sha, "private": stored.private, "siblings": siblings})

    def tree(self, repo):
        files = self.server.repositories[repo].files.items()
        digests = {name: hashlib.sha1(data).hexdigest() for name, data in files}
        self.answer([{"type": "file", "path": n, "size": len(d), "oid": digests[n]} for n, d in files])

    def resolve(self, repo, name):
        stored = self.server.repositories[repo]
        data = stored.files[name]
        self.answer(data, X_Repo_Commit=stored.sha, ETag=f'"{hashlib.sha1(data).hexdigest()}"')
