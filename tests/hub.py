"""A stand-in for the Hugging Face Hub on 127.0.0.1: a real HTTP server with users, repositories, commits and pull requests in memory.

It speaks the routes that `huggingface_hub` and `datasets` call for models, datasets and Spaces, checks rights as the Hub does, validates
the card and `eval.yaml` at push time, and can be told to fail. `Hub` is both the server and the test's view of what it holds.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Kind = Literal["models", "datasets", "spaces"]

# As in packages/tasks/src/eval.ts of huggingface.js, from which the Hub validates `eval.yaml`.
EVALUATION_FRAMEWORKS = frozenset(
    (
        *("exgentic", "inspect-ai", "math-arena", "mteb", "olmocr-bench", "harbor", "archipelago", "apex-evals", "screenspot-pro"),
        *("swe-bench", "swe-bench-pro", "nemo-evaluator", "yc-bench", "open-asr-leaderboard", "mdpbench", "parsebench", "video-mme-v2"),
        *("claw-eval", "wildclawbench"),
    )
)
CARD_TYPES = {"license": (str, list), "language": (str, list), "tags": (list,), "configs": (list,), "dataset_info": (dict, list)}


@dataclasses.dataclass(frozen=True)
class Blob:
    """A file's content; `lfs` says that git holds a pointer to it alone."""

    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    @property
    def oid(self) -> str:
        """Git's name of the blob."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()  # noqa: S324 - git's own hash.

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


Files = dict[str, Blob]


@dataclasses.dataclass(frozen=True)
class Commit:
    """A commit, named by all that it holds."""

    parent: str | None
    message: str
    description: str
    author: str
    files: Files
    date: dt.datetime

    @property
    def oid(self) -> str:
        tree = sorted((path, blob.oid) for path, blob in self.files.items())
        return hashlib.sha1(json.dumps([self.parent, self.message, self.author, tree]).encode()).hexdigest()  # noqa: S324


@dataclasses.dataclass
class Discussion:
    """A discussion, which may be a pull request from `refs/pr/<num>` to `main`."""

    num: int
    title: str
    description: str
    author: str
    status: Literal["draft", "open", "closed", "merged"]
    is_pull_request: bool
    created: dt.datetime
    base: str
    merged_as: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"


@dataclasses.dataclass
class Repo:
    """A repository; branches and pull requests point into its commits."""

    kind: Kind
    id: str
    private: bool
    gated: bool
    created: dt.datetime
    commits: dict[str, Commit] = dataclasses.field(default_factory=dict)
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    discussions: list[Discussion] = dataclasses.field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch, a pull request or an oid names."""
        return self.commits.get(self.refs.get(revision, revision))

    def add(self, ref: str, files: Files, message: str, author: str, description: str = "") -> Commit:
        commit = Commit(self.refs.get(ref), message, description, author, files, dt.datetime.now(dt.UTC))
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def history(self, ref: str = "main") -> list[Commit]:
        """Commits from the newest to the first."""
        found, oid = [], self.refs.get(ref)
        while oid is not None:
            found.append(self.commits[oid])
            oid = self.commits[oid].parent
        return found


@dataclasses.dataclass(frozen=True)
class User:
    """An account; `writes` is false for a read-only token of it."""

    name: str
    orgs: tuple[str, ...] = ()
    writes: bool = True


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next `times` requests whose `METHOD path` the pattern finds."""

    pattern: re.Pattern[str]
    times: int
    status: int | None
    headers: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it came; `path` is still quoted."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    user: User | None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Response:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - an answer rather than an error.
    """Ends a request with an error of the Hub."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        headers = {"Content-Type": "application/json", "X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.response = Response(status, json.dumps({"error": message}).encode(), headers)


def answer(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


class Hub:
    """The server, and what it holds.

    Attributes:
        lfs_suffixes: Endings of files that go through LFS, as `.parquet` does on the real Hub; clients then need HF_HUB_DISABLE_XET=1.
        requests: `METHOD path` of every request, in the order in which they came.
    """

    def __init__(self, lfs_suffixes: tuple[str, ...] = ()) -> None:
        self.lfs_suffixes = lfs_suffixes
        self.requests: list[str] = []
        self._users: dict[str, User] = {}
        self._repos: dict[tuple[str, str], Repo] = {}
        self._objects: dict[str, bytes] = {}
        self._faults: list[Fault] = []
        self._hooks: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    # --- What a test sets up and looks at ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_user(self, name: str, *, orgs: tuple[str, ...] = (), writes: bool = True) -> str:
        """Makes an account (or another token of it) and returns the token."""
        token = f"hf_{hashlib.sha256(f'{name}/{writes}'.encode()).hexdigest()[:34]}"
        self._users[token] = User(name, orgs, writes)
        return token

    def add_repo(
        self, kind: Kind, name: str, files: Mapping[str, bytes] | None = None, *, private: bool = False, gated: bool = False
    ) -> Repo:
        """Makes a repository with a first commit."""
        repo = Repo(kind, name, private, gated, dt.datetime.now(dt.UTC))
        first = {".gitattributes": Blob(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")}
        repo.add("main", first | {path: Blob(content) for path, content in (files or {}).items()}, "initial commit", repo.namespace)
        self._repos[kind, name] = repo
        return repo

    def repo(self, kind: Kind, name: str) -> Repo:
        return self._repos[kind, name]

    def has_repo(self, kind: Kind, name: str) -> bool:
        return (kind, name) in self._repos

    def files(self, kind: Kind, name: str, revision: str = "main") -> dict[str, bytes]:
        """Contents by path at a revision."""
        commit = self.repo(kind, name).at(revision)
        if commit is None:
            raise KeyError(revision)
        return {path: blob.content for path, blob in commit.files.items()}

    def merge(self, kind: Kind, name: str, num: int) -> Commit:
        """Merges a pull request, as an owner would on the web page."""
        repo = self.repo(kind, name)
        return self._merge(repo, repo.discussions[num - 1], User(repo.namespace))

    def fail(self, pattern: str, *, status: int | None = None, times: int = 1, headers: Mapping[str, str] | None = None) -> None:
        """Answers the next `times` requests that the pattern finds with `status`, or breaks their connection where there is none."""
        self._faults.append(Fault(re.compile(pattern), times, status, headers or {}))

    def before(self, pattern: str, action: Callable[[], object]) -> None:
        """Does something, once, before the next request that the pattern finds is answered: what somebody else does meanwhile."""
        self._hooks.append((re.compile(pattern), action))

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Variables with which a subprocess takes this server for the Hub, and `home` for its cache."""
        variables = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return variables | ({"HF_TOKEN": token} if token else {})

    # --- Requests ----------------------------------------------------------------------------------------------------------------

    def respond(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response | None:
        """The answer to a request; nothing where the connection is to break."""
        parts = urlsplit(target)
        with self._lock:
            self.requests.append(f"{method} {parts.path}")
            for hook in [hook for hook in self._hooks if hook[0].search(f"{method} {parts.path}")]:
                self._hooks.remove(hook)
                hook[1]()
            for fault in self._faults:
                if fault.times and fault.pattern.search(f"{method} {parts.path}"):
                    fault.times -= 1
                    return Response(fault.status, b"{}", fault.headers) if fault.status else None
            try:
                request = Request(method, parts.path, parse_qs(parts.query), headers, body, self._user_of(headers))
                return self._route(request)
            except Refusal as refusal:
                return refusal.response

    def _user_of(self, headers: Mapping[str, str]) -> User | None:
        given = headers.get("Authorization")
        if given is None:
            return None
        user = self._users.get(given.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _route(self, request: Request) -> Response:
        for methods, pattern, handle in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match and request.method in methods:
                fields = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                return handle(self, request, fields)
        raise Refusal(404, f"the stand-in Hub knows no {request.method} {request.path}", "EntryNotFound")

    def _readable(self, request: Request, fields: Mapping[str, str]) -> Repo:
        repo = self._repos.get((fields.get("kind") or "models", fields["id"]))
        visible = repo is not None and (not repo.private or self._may_write(request.user, repo, any_token=True))
        if repo is None or not visible:
            # The Hub does not tell a stranger whether a name is taken.
            raise Refusal(404 if request.user else 401, "Repository not found", "RepoNotFound")
        return repo

    @staticmethod
    def _may_write(user: User | None, repo: Repo, *, any_token: bool = False) -> bool:
        return user is not None and (user.writes or any_token) and repo.namespace in (user.name, *user.orgs)

    @staticmethod
    def _someone(request: Request, *, writing: bool = True) -> User:
        if request.user is None:
            raise Refusal(401, "Invalid username or password.")
        if writing and not request.user.writes:
            raise Refusal(403, "Forbidden: this token may only read")
        return request.user

    def _commit_of(self, repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _authorise_commit(self, request: Request, repo: Repo, revision: str) -> User:
        user = self._someone(request)
        own = any(d.ref == revision and d.author == user.name and d.status in ("draft", "open") for d in repo.discussions)
        if not self._may_write(user, repo) and "create_pr" not in request.query and not own:
            raise Refusal(403, f"Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request on {repo.id}")
        return user

    # --- Routes ------------------------------------------------------------------------------------------------------------------

    def _whoami(self, request: Request, fields: Mapping[str, str]) -> Response:  # noqa: ARG002
        user = self._someone(request, writing=False)
        role = "write" if user.writes else "read"
        orgs = [{"type": "org", "name": org} for org in user.orgs]
        return answer({"type": "user", "name": user.name, "orgs": orgs, "auth": {"accessToken": {"displayName": "test", "role": role}}})

    def _create(self, request: Request, fields: Mapping[str, str]) -> Response:  # noqa: ARG002
        user, given = self._someone(request), request.json()
        namespace = given.get("organization") or user.name
        kind = cast("Kind", f"{given.get('type') or 'model'}s")
        name = f"{namespace}/{given['name']}"
        if namespace not in (user.name, *user.orgs):
            raise Refusal(403, f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"')
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self._repos:
            return answer({"error": "You already created this repo", "url": url}, 409)
        self.add_repo(kind, name, private=given.get("visibility") == "private" or bool(given.get("private")))
        return answer({"url": url, "id": name, "name": name})

    def _validate_yaml(self, request: Request, fields: Mapping[str, str]) -> Response:  # noqa: ARG002
        errors = [{"message": message} for message in card_errors(request.json()["content"])]
        return answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _preupload(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        self._authorise_commit(request, repo, fields["revision"])
        there = self._commit_of(repo, fields["revision"]).files
        modes = []
        for file in request.json()["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(self.lfs_suffixes) and self.lfs_suffixes else "regular"
            oid = there[path].etag if path in there else None
            modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **({"oid": oid} if oid else {})})
        return answer({"files": modes})

    def _commit(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo, revision = self._readable(request, fields), fields["revision"]
        user = self._authorise_commit(request, repo, revision)
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        [header] = [line["value"] for line in lines if line["key"] == "header"]
        base = self._commit_of(repo, revision)
        as_pull_request = "create_pr" in request.query
        if (parent := header.get("parentCommit")) is not None:
            if as_pull_request:
                base = self._commit_of(repo, parent)
            elif not base.oid.startswith(parent):
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        for line in lines:
            self._apply(line["key"], line["value"], files)
        validate_push(repo.kind, files)
        ref, url = revision, f"{self._page(repo)}/commit/"
        pull_request = None
        if as_pull_request:
            pull_request = self._open(repo, header["summary"], header.get("description", ""), user.name, base.oid, "open")
            ref = pull_request.ref
            repo.refs[ref] = base.oid
        elif revision not in repo.refs:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        commit = repo.add(ref, files, header["summary"], user.name, header.get("description", ""))
        page = f"{self._page(repo)}/discussions/{pull_request.num}" if pull_request else None
        return answer({"success": True, "commitOid": commit.oid, "commitUrl": url + commit.oid, "pullRequestUrl": page})

    def _apply(self, key: str, value: Mapping[str, Any], files: Files) -> None:
        if key == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self._objects:
                raise Refusal(400, f"the LFS object of {value['path']} was not uploaded")
            files[value["path"]] = Blob(self._objects[value["oid"]], lfs=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            for path in [path for path in files if path.startswith(value["path"].rstrip("/") + "/")]:
                del files[path]
        elif key != "header":
            raise Refusal(400, f"unknown operation {key}")

    def _lfs_batch(self, request: Request, fields: Mapping[str, str]) -> Response:
        self._readable(request, fields)
        self._someone(request)
        objects = []
        for item in request.json()["objects"]:
            upload = {"href": f"{self.url}/lfs/{item['oid']}"}
            actions = {} if item["oid"] in self._objects else {"actions": {"upload": upload, "verify": {"href": f"{self.url}/lfs-verify"}}}
            objects.append({"oid": item["oid"], "size": item["size"], **actions})
        return answer({"transfer": "basic", "objects": objects})

    def _lfs_put(self, request: Request, fields: Mapping[str, str]) -> Response:
        if hashlib.sha256(request.body).hexdigest() != fields["oid"]:
            raise Refusal(400, "the content does not have the hash that was announced")
        self._objects[fields["oid"]] = request.body
        return Response()

    def _lfs_verify(self, request: Request, fields: Mapping[str, str]) -> Response:  # noqa: ARG002
        if request.json()["oid"] not in self._objects:
            raise Refusal(404, "no such LFS object", "EntryNotFound")
        return answer({})

    def _info(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        commit = self._commit_of(repo, fields.get("revision", "main"))
        card = commit.files.get("README.md")
        info = {
            "_id": repo.id,
            "id": repo.id,
            "author": repo.namespace,
            "sha": commit.oid,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "createdAt": _date(repo.created),
            "lastModified": _date(commit.date),
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
            "cardData": front_matter(card.content.decode()) if card else {},
        }
        if repo.kind == "models":
            info["evalResults"] = [{"filename": name, "verified": False, "data": data} for name, data in self._eval_results(repo, "main")]
        return answer(info)

    def _settings(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        if not self._may_write(self._someone(request), repo):
            raise Refusal(403, "Forbidden: only an owner can change the settings")
        given = request.json()
        repo.gated = bool(given.get("gated", repo.gated))
        repo.private = given["visibility"] == "private" if "visibility" in given else repo.private
        return answer({"gated": repo.gated, "private": repo.private})

    def _tree(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        commit, folder = self._commit_of(repo, fields["revision"]), fields.get("path", "").strip("/")
        prefix = f"{folder}/" if folder else ""
        below = {path: blob for path, blob in commit.files.items() if path.startswith(prefix)}
        if folder and not below:
            raise Refusal(404, f"{folder} does not exist on {fields['revision']}", "EntryNotFound")
        recursive, expand = (request.query.get(name, ["false"])[0].lower() in ("true", "1") for name in ("recursive", "expand"))
        entries = {}
        for path, blob in sorted(below.items()):
            steps = path.removeprefix(prefix).split("/")
            for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
                directory = prefix + "/".join(steps[:depth])
                entries[directory] = _directory(directory)
            if recursive or len(steps) == 1:
                entries[path] = _file(path, blob)
        return answer([_expanded(entry, commit) if expand else entry for _, entry in sorted(entries.items())])

    def _paths_info(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        commit = self._commit_of(repo, fields["revision"])
        found = []
        for path in parse_qs(request.body.decode()).get("paths", []):
            if path in commit.files:
                found.append(_file(path, commit.files[path]))
            elif any(name.startswith(path.rstrip("/") + "/") for name in commit.files):
                found.append(_directory(path))
        return answer(found)

    def _resolve(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        if repo.gated and not self._may_write(request.user, repo, any_token=True):
            raise Refusal(403 if request.user else 401, f"Access to {repo.id} is restricted: accept its terms first", "GatedRepo")
        commit = self._commit_of(repo, fields["revision"])
        blob = commit.files.get(fields["path"])
        if blob is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        headers = {
            "ETag": f'"{blob.etag}"',
            "X-Repo-Commit": commit.oid,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            **({"X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{blob.etag}"'} if blob.lfs else {}),
        }
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range") or "")
        if asked is None:
            return Response(200, blob.content, headers)
        size = len(blob.content)
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        if first >= size:
            return Response(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        return Response(206, blob.content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{size}"})

    def _discussions(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        if request.method == "POST":
            given = request.json()
            user = self._someone(request)
            status: Literal["draft", "open"] = "draft" if given["pullRequest"] else "open"
            opened = self._open(repo, given["title"], given["description"], user.name, repo.refs["main"], status, given["pullRequest"])
            if opened.is_pull_request:
                repo.refs[opened.ref] = opened.base
            return answer({"num": opened.num, "pullRequest": opened.is_pull_request})
        kind, status_asked = (request.query.get(name, ["all"])[0] for name in ("type", "status"))
        chosen = [
            discussion
            for discussion in reversed(repo.discussions)
            if kind == "all" or discussion.is_pull_request == (kind == "pull_request")
            if status_asked == "all" or (discussion.status in ("open", "draft")) == (status_asked == "open")
        ]
        start = int(request.query.get("p", ["0"])[0]) * 50
        page = [self._described(repo, discussion) for discussion in chosen[start : start + 50]]
        return answer({"count": len(chosen), "start": start, "discussions": page})

    def _details(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        discussion = self._discussion(repo, fields)
        details = self._described(repo, discussion) | {"events": [_comment(discussion)]}
        if discussion.is_pull_request:
            changes = {"base": "refs/heads/main", **({"mergeCommitId": discussion.merged_as} if discussion.merged_as else {})}
            details |= {"changes": changes, "filesWithConflicts": self._conflicts(repo, discussion), "diff": self._diff(repo, discussion)}
        return answer(details)

    def _act(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, fields)
        discussion, user = self._discussion(repo, fields), self._someone(request)
        owner = self._may_write(user, repo)
        if fields["action"] == "merge":
            if not owner:
                raise Refusal(403, "Forbidden: only those who may write to the repository can merge")
            return answer({"oid": self._merge(repo, discussion, user).oid})
        if not owner and user.name != discussion.author:
            raise Refusal(403, "Forbidden: only the author or an owner can change the status")
        if discussion.status == "merged":
            raise Refusal(400, "a merged pull request stays merged")
        discussion.status = request.json()["status"]
        event = {**_event(discussion), "type": "status-change", "data": {"status": discussion.status}}
        return answer({"newStatus": event})

    def _leaderboard(self, request: Request, fields: Mapping[str, str]) -> Response:
        repo = self._readable(request, {"kind": "datasets", **fields})
        if "eval.yaml" not in self._commit_of(repo, "main").files:
            raise Refusal(404, f"{repo.id} is no benchmark: it has no eval.yaml", "EntryNotFound")
        tasks = {task["id"] for task in yaml.safe_load(self._commit_of(repo, "main").files["eval.yaml"].content)["tasks"]}
        entries = []
        for model in [model for (kind, _), model in sorted(self._repos.items()) if kind == "models"]:
            waiting = [d for d in model.discussions if d.is_pull_request and d.status == "open"]
            for ref, num in [("main", None), *((d.ref, d.num) for d in waiting)]:
                for filename, data in self._eval_results(model, ref):
                    merged = num is not None and any(data == known for _, known in self._eval_results(model, "main"))
                    if data["dataset"]["id"] == repo.id and data["dataset"]["task_id"] in tasks and not merged:
                        entries.append(
                            {
                                "modelId": model.id,
                                "value": data["value"],
                                "filename": filename,
                                "verified": False,
                                "author": {"type": "org", "name": model.namespace, "fullname": model.namespace, "avatarUrl": ""},
                                **({"pullRequest": num} if num else {}),
                                **({"notes": data["notes"]} if "notes" in data else {}),
                                **({"source": data["source"]} if "source" in data else {}),
                            }
                        )
        entries.sort(key=lambda entry: -float(entry["value"]))
        return answer([{"rank": rank, **entry} for rank, entry in enumerate(entries, 1)])

    # --- Pull requests -----------------------------------------------------------------------------------------------------------

    @staticmethod
    def _open(
        repo: Repo,
        title: str,
        description: str,
        author: str,
        base: str,
        status: Literal["draft", "open"],
        is_pull_request: bool = True,  # noqa: FBT001, FBT002
    ) -> Discussion:
        number = len(repo.discussions) + 1
        repo.discussions.append(Discussion(number, title, description, author, status, is_pull_request, dt.datetime.now(dt.UTC), base))
        return repo.discussions[-1]

    @staticmethod
    def _discussion(repo: Repo, fields: Mapping[str, str]) -> Discussion:
        num = int(fields["num"])
        if not 1 <= num <= len(repo.discussions):
            raise Refusal(404, f"no discussion {num}", "EntryNotFound")
        return repo.discussions[num - 1]

    def _changes(self, repo: Repo, discussion: Discussion) -> dict[str, Blob | None]:
        base, head = repo.commits[discussion.base].files, repo.commits[repo.refs[discussion.ref]].files
        return {path: head.get(path) for path in sorted({*base, *head}) if base.get(path) != head.get(path)}

    def _conflicts(self, repo: Repo, discussion: Discussion) -> list[str]:
        base, now = repo.commits[discussion.base].files, repo.commits[repo.refs["main"]].files
        return [path for path, blob in self._changes(repo, discussion).items() if now.get(path) not in (base.get(path), blob)]

    def _diff(self, repo: Repo, discussion: Discussion) -> str:
        return "".join(f"{'+' if blob else '-'} {path}\n" for path, blob in self._changes(repo, discussion).items())

    def _merge(self, repo: Repo, discussion: Discussion, user: User) -> Commit:
        if not discussion.is_pull_request or discussion.status != "open":
            raise Refusal(400, f"a {discussion.status} discussion cannot be merged")
        if conflicts := self._conflicts(repo, discussion):
            raise Refusal(409, f"conflicts in {', '.join(conflicts)}")
        merged = {**repo.commits[repo.refs["main"]].files, **self._changes(repo, discussion)}
        files = {path: blob for path, blob in merged.items() if blob is not None}
        commit = repo.add("main", files, f"{discussion.title} (#{discussion.num})", user.name)
        discussion.status, discussion.merged_as = "merged", commit.oid
        return commit

    def _described(self, repo: Repo, discussion: Discussion) -> dict[str, Any]:
        return {
            "num": discussion.num,
            "title": discussion.title,
            "status": discussion.status,
            "isPullRequest": discussion.is_pull_request,
            "author": {"name": discussion.author},
            "createdAt": _date(discussion.created),
            "repo": {"name": repo.id, "type": repo.kind[:-1]},
        }

    def _page(self, repo: Repo) -> str:
        return f"{self.url}/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.id}"

    @staticmethod
    def _eval_results(repo: Repo, ref: str) -> list[tuple[str, dict[str, Any]]]:
        commit = repo.at(ref)
        files = {} if commit is None else commit.files
        names = [name for name in sorted(files) if re.fullmatch(r"\.eval_results/[^/]+\.yaml", name)]
        return [(name, entry) for name in names for entry in yaml.safe_load(files[name].content)]


def _date(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _file(path: str, blob: Blob) -> dict[str, Any]:
    lfs = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
    return {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": path, **({"lfs": lfs} if blob.lfs else {})}


def _directory(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}  # noqa: S324


def _expanded(entry: dict[str, Any], commit: Commit) -> dict[str, Any]:
    return {**entry, "lastCommit": {"id": commit.oid, "title": commit.message, "date": _date(commit.date)}}


def _event(discussion: Discussion) -> dict[str, Any]:
    return {"id": f"event-{discussion.num}", "createdAt": _date(discussion.created), "author": {"name": discussion.author}}


def _comment(discussion: Discussion) -> dict[str, Any]:
    return {**_event(discussion), "type": "comment", "data": {"edited": False, "hidden": False, "latest": {"raw": discussion.description}}}


# --- Validation at push time -----------------------------------------------------------------------------------------------------


def front_matter(card: str) -> dict[str, Any]:
    """The YAML mapping at the head of a card, empty where there is none."""
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", card, flags=re.DOTALL)
    loaded = yaml.safe_load(match[1]) if match else {}
    return loaded if isinstance(loaded, dict) else {}


def card_errors(card: str) -> list[str]:
    """What the Hub would refuse of a card's front matter."""
    try:
        data = front_matter(card)
    except yaml.YAMLError as error:
        return [f"the front matter is not valid YAML: {error}"]
    errors = [
        f'"{name}" must be a string or a list' for name, kinds in CARD_TYPES.items() if name in data and type(data[name]) not in kinds
    ]
    languages = data.get("language", [])
    errors += [
        f'"language" must hold ISO 639 codes, not {language!r}'
        for language in ([languages] if isinstance(languages, str) else languages)
        if not isinstance(language, str) or not re.fullmatch(r"[a-z]{2,3}(-\w+)*|multilingual|code", language)
    ]
    if data.get("license") == "other" and not data.get("license_name"):
        errors.append('"license_name" is required with license "other"')
    names = [config.get("config_name") for config in data.get("configs", [])]
    if len(names) != len(set(names)) or None in names:
        errors.append('"configs" must each have a "config_name" of its own')
    if sum(bool(config.get("default")) for config in data.get("configs", [])) > 1:
        errors.append('"configs" can have one default alone')
    return errors


def validate_push(kind: Kind, files: Files) -> None:
    """Refuses what the Hub refuses: a bad card, a bad `eval.yaml`, bad `.eval_results`."""
    errors = []
    if "README.md" in files:
        errors += card_errors(files["README.md"].content.decode())
    if kind == "datasets" and "eval.yaml" in files:
        errors += eval_yaml_errors(files["eval.yaml"].content.decode())
    if kind == "models":
        for path in [path for path in files if path.startswith(".eval_results/")]:
            entries = yaml.safe_load(files[path].content)
            if not isinstance(entries, list) or not all({"dataset", "value"} <= set(entry) for entry in entries):
                errors.append(f"{path}: must be a list of entries with dataset and value")
    if errors:
        raise Refusal(400, "; ".join(errors))


def eval_yaml_errors(text: str) -> list[str]:
    """What docs/hub/eval-results.md of huggingface/hub-docs asks of an `eval.yaml`."""
    data = yaml.safe_load(text)
    if not isinstance(data, dict):
        return ["eval.yaml: must be a mapping"]
    errors = [f"eval.yaml: {name} is missing" for name in ("name", "description", "evaluation_framework", "tasks") if not data.get(name)]
    framework = data.get("evaluation_framework")
    if framework not in EVALUATION_FRAMEWORKS:
        errors.append(f"eval.yaml: evaluation_framework {framework!r} is not one of {', '.join(sorted(EVALUATION_FRAMEWORKS))}")
    needed = ("id", "field_spec", "solvers", "scorers") if framework == "inspect-ai" else ("id",)
    tasks = data.get("tasks") or []
    errors += [f"eval.yaml: tasks[{index}].{name} is missing" for index, task in enumerate(tasks) for name in needed if not task.get(name)]
    ids = [task.get("id") for task in tasks]
    return errors + ([] if len(ids) == len(set(ids)) else ["eval.yaml: two tasks share an id"])


# --- HTTP ------------------------------------------------------------------------------------------------------------------------

_KIND = r"(?P<kind>models|datasets|spaces)"
_ID = r"(?P<id>[^/]+/[^/]+?)"
_SITE = r"/(?:(?P<kind>datasets|spaces)/)?" + _ID

_ROUTES: list[tuple[tuple[str, ...], re.Pattern[str], Callable[[Hub, Request, Mapping[str, str]], Response]]] = [
    (methods, re.compile(pattern), handle)
    for methods, pattern, handle in (
        (("GET",), r"/api/whoami-v2", Hub._whoami),
        (("POST",), r"/api/repos/create", Hub._create),
        (("POST",), r"/api/validate-yaml", Hub._validate_yaml),
        (("GET",), rf"/api/datasets/{_ID}/leaderboard", Hub._leaderboard),
        (("POST",), rf"/api/{_KIND}/{_ID}/preupload/(?P<revision>[^/]+)", Hub._preupload),
        (("POST",), rf"/api/{_KIND}/{_ID}/commit/(?P<revision>[^/]+)", Hub._commit),
        (("PUT",), rf"/api/{_KIND}/{_ID}/settings", Hub._settings),
        (("GET", "POST"), rf"/api/{_KIND}/{_ID}/discussions", Hub._discussions),
        (("GET",), rf"/api/{_KIND}/{_ID}/discussions/(?P<num>\d+)", Hub._details),
        (("POST",), rf"/api/{_KIND}/{_ID}/discussions/(?P<num>\d+)/(?P<action>merge|status)", Hub._act),
        (("GET",), rf"/api/{_KIND}/{_ID}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", Hub._tree),
        (("POST",), rf"/api/{_KIND}/{_ID}/paths-info/(?P<revision>[^/]+)", Hub._paths_info),
        (("GET",), rf"/api/{_KIND}/{_ID}(?:/revision/(?P<revision>[^/]+))?", Hub._info),
        (("POST",), rf"{_SITE}\.git/info/lfs/objects/batch", Hub._lfs_batch),
        (("PUT",), r"/lfs/(?P<oid>[0-9a-f]{64})", Hub._lfs_put),
        (("POST",), r"/lfs-verify", Hub._lfs_verify),
        (("GET", "HEAD"), rf"{_SITE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Hub._resolve),
    )
]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            response = hub.respond(self.command, self.path, self.headers, self._body())  # type: ignore[arg-type]
            if response is None:
                # A reset rather than a quiet end, as when a server dies.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keeps the test's output clean."""

    return Handler


@contextlib.contextmanager
def serve_hub(lfs_suffixes: tuple[str, ...] = ()) -> Iterator[Hub]:
    """Runs a `Hub` for as long as the block lasts."""
    hub = Hub(lfs_suffixes)
    try:
        yield hub
    finally:
        hub.close()
