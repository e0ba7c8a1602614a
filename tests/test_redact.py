from __future__ import annotations

import pytest

from optuna_perfpred._redact import Redactor
from optuna_perfpred._redact import shown


# A URL, and the ways in which its password is written.
URLS = {
    "postgresql://me:topsecret@host/db": ["topsecret"],
    "postgresql://me:t%40p%2Fsecret@host/db": ["t%40p%2Fsecret", "t@p/secret", "t%40p/secret"],
    "postgresql://me:t@p@host:5432/db": ["t@p"],
    "postgresql://me:t/secret@host/db": ["t/secret", "t%2Fsecret"],
    "mysql+pymysql://me@host/db?charset=utf8&password=top+secret": ["top+secret", "top secret"],
    "redis://:topsecret@host:6379/0": ["topsecret"],
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dtopsecret%3BTDS%3D7": ["topsecret"],
    "postgresql://me:tops'ecret\\@host/db": ["tops'ecret\\", "tops'ecret\\\\"],
}


@pytest.mark.parametrize("url", URLS)
def test_a_storage_is_shown_without_its_password(url):
    for password in URLS[url]:
        assert password not in shown(url)
    assert url.split("://")[0] in shown(url)


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_hidden_wherever_it_stands(url):
    redact = Redactor(url)
    assert redact.has_password
    for password in URLS[url]:
        told = redact(f"FATAL: {password} of {url} is wrong: N{password}, {password!r}")
        assert password not in told
        assert told.startswith("FATAL: ")


def test_a_password_that_is_the_name_of_the_user_leaves_other_words():
    redact = Redactor("postgresql://postgres:postgres@host/db")
    assert redact("postgresql failed: 'postgres'") == "postgresql failed: '***'"


def test_a_short_password_is_hidden_in_urls_only():
    redact = Redactor("postgresql://me:ab@host/db")
    assert redact("about postgresql://me:ab@host/db") == "about postgresql://me:***@host/db"


def test_passwords_of_other_urls_are_hidden():
    told = Redactor()("connect to mysql://you:other@there/x, password='x' passwd=hush;")
    assert "other" not in told
    assert "hush" not in told


@pytest.mark.parametrize(
    "storage", ["sqlite:////tmp/a@b.db", "/tmp/a:b@c.journal", "grpc://host:13000", "http://a/b"]
)
def test_a_storage_without_a_password_is_shown_as_it_is(storage):
    assert shown(storage) == repr(storage)
    assert not Redactor(storage).has_password
