"""Keys and passwords are taken out of what others say; everything else stays."""

from __future__ import annotations

import time

import pytest

from p2o.base.secrets import is_secret, quotable, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@h:80/v1?api-key=abc&v=1 is down", "http://***@h:80/v1?api-key=***&v=*** is down"),
        ("https://token@h/v1", "https://***@h/v1"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: *** ***"),
        ("wrong: Bearer sk-very-secret-0123456789", "wrong: Bearer ***"),
        ("invalid api_key='AAAABBBBCCCC'", "invalid api_key='***'"),
        ('{"password": "hunter222"}', '{"password": "***"}'),
        ("Incorrect API key provided: sk-abcdefgh1234.", "Incorrect API key provided: ***."),
        ("the value abcd-efgh-secret is wrong", "the value *** is wrong"),
        ("max_tokens: 4096 is too large; prompt_tokens=11", "max_tokens: 4096 is too large; prompt_tokens=11"),
        ("KeyError: 'answer'", "KeyError: 'answer'"),
        ("Use 'max_completion_tokens' instead.", "Use 'max_completion_tokens' instead."),
        ("Unexpected token: '<'", "Unexpected token: '<'"),
        ("see http://127.0.0.1:8000/v1", "see http://127.0.0.1:8000/v1"),
    ],
)
def test_without_secrets(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "abcd-efgh-secret")
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_known_secrets() -> None:
    assert without_secrets("it is open-sesame, my friend", ["open-sesame", "", "friend"]) == "it is ***, my ***"


def test_names() -> None:
    assert all(map(is_secret, ("hub_token", "MY_API_KEY", "HF_TOKEN", "db_password", "OWN_KEY", "apikey")))
    assert not any(map(is_secret, ("reflector_api_key_env", "max_tokens", "eval_group_key", "tokenizer", "KEYBOARD")))


def test_a_quotable_reason_is_one_clean_line() -> None:
    text = quotable("\x1b[31mno\x1b[0m\r\n\tBearer abcdefgh \u202e" + "x" * 10**6)
    assert text.startswith("no Bearer *** x")
    assert len(text) == 200
    assert quotable(ValueError("plain")) == "plain"


@pytest.mark.parametrize("piece", ["token=", "api-key", "http://", "a@", "Bearer ", "://a:", "sk-"])
def test_it_takes_no_time(piece: str) -> None:
    start = time.monotonic()
    quotable(piece * (10_000 // len(piece)))
    assert time.monotonic() - start < 2
