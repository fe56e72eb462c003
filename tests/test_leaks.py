"""What must not leave a machine is found, and what only looks like it is left."""

from __future__ import annotations

from typing import Any

import pytest

from culturecare_harness.leaks import leaks

PATHS = [
    "/home/me/models/x",
    "see /tmp/run",
    "C:\\Users\\me",
    "D:/models/x",
    "file:///etc/passwd",
    "~/adapters/mine",
    "~jane/adapters",
    "dtype=/mnt/disk/x",
    "(/root/.cache)",
    "/gpfs/scratch/me/secret-model",
    "/lustre/x",
    "/work/users/jane/adapter",
    "/content/drive/MyDrive/x",
    "/kaggle/input/x",
    "/projects/x",
    "/workspaces/x",
    "/nfs/x",
    "/Volumes/x/y",
    "/p/project/x",
    "/secret/models",
    "../private/x",
    "./adapter",
    r"\\server\share\x",
    "//server/share/x",
    "dbfs:/x",
    "gs://bucket/secret",
    "s3://bucket/x",
]


@pytest.mark.parametrize("text", PATHS)
def test_paths_of_a_machine_are_found(text: str) -> None:
    assert leaks({"a": [{"b": text}]}) == "a path"
    assert leaks({text: 1}) == "a path"


@pytest.mark.parametrize(
    "value",
    [
        "sk-" + "a" * 40,
        "Bearer hf_" + "a" * 34,
        "Bearer abcdefghijk123456",
        "AKIA" + "A" * 16,
        "ghp_" + "a" * 36,
        "-----BEGIN PRIVATE KEY-----",
        {"api_key": "my-plain-secret"},
        {"token": "abcdef123456"},
        {"headers": {"X-API-Key": "x"}},
        {"Authorization": "Basic abc"},
    ],
    ids=str,
)
def test_keys_are_found(value: Any) -> None:
    assert leaks([value]) == "a key"


@pytest.mark.parametrize(
    "text",
    [
        "http://jane:pw@example.org/v1",
        "https://token@example.org",
        "http://localhost:8000/v1",
        "http://build7.corp.internal:8000/v1/chat",
        "http://printer.local",
        "http://gpu-node-3:8000/v1",
        "http://10.0.0.5:8000/v1",
        "http://172.20.1.1/v1",
        "https://192.168.1.10",
        "http://127.0.0.1:1",
        "http://[::1]:8000",
        "http://[fd00::1]/x",
        "http://[broken",
        "host=10.0.0.5:8000",
        "localhost:8000/v1",
        "node1.internal:8000",
    ],
)
def test_addresses_that_the_public_network_does_not_know_are_found(text: str) -> None:
    assert leaks({"base_url": text}) == "a private address"


@pytest.mark.parametrize(
    "value",
    [
        "meta-llama/Llama-3.1-70B",
        "https://example.org/data/x",
        "https://api.openai.com/v1/chat/completions",
        "https://medium.com/@someone/x",
        "http://8.8.8.8/x",
        "hf://datasets/org/name",
        "packaged:smollm2",
        "and/or",
        "at home/work/school",
        "4/5",
        "about ~5/10",
        "a: b",
        "~ten",
        "he said /s",
        "and so on.../and more",
        "risk-free",
        "12:30",
        "\n/\n",
        "Your local. Everyone can help.",
        {"nvidia-curand": "10.3.2.106"},
        {"tokenizer": "gpt2", "max_tokens": 96, "token": True, "api_key": None},
    ],
    ids=str,
)
def test_what_only_looks_like_them_is_left(value: Any) -> None:
    assert leaks({"a": value}) is None


def test_texts_that_stand_beside_each_other_make_no_path_together() -> None:
    assert leaks(["/home/", "me"]) is None
