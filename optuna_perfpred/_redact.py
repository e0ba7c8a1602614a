from __future__ import annotations

import re
from urllib.parse import quote
from urllib.parse import quote_plus
from urllib.parse import unquote
from urllib.parse import unquote_plus


_HIDDEN = "***"
_SCHEME = r"[A-Za-z][\w+.-]*://"
# A password may hold an @, so it ends at the last one that can end it.
_IN_URL = re.compile(rf"({_SCHEME}[^:/@\s]*):[^\s'\"]*@")
_IN_AUTHORITY = re.compile(rf"({_SCHEME}[^:/@]*):(.*)@")
_IN_SETTING = re.compile(r"(?i)(\b\w*(?:passw|passphrase|pwd|secret|token)\w*=)[^\s;&'\"]+")
# A shorter password is hidden in URLs only: hiding each "a" would leave no text.
_MIN_LENGTH = 3


class Redactor:
    """Hides the passwords of storages in texts.

    Hides the password of every URL and the value of every ``password=...`` that a text holds, and
    wherever they stand the passwords of the storages that it was made for, plain as well as
    percent-encoded: drivers of databases put them into their messages in ways of their own.

    Args:
        storages:
            The URLs of the storages, or whatever was given as such.
    """

    def __init__(self, *storages: str) -> None:
        spellings: dict[str, bool] = {}
        for storage in storages:
            for secret in _passwords(storage):
                # If it is the user's name as well, words that contain it are left.
                is_word = _stands_elsewhere(storage, secret)
                spellings |= dict.fromkeys(_spellings(secret), is_word)
        self._patterns = [
            re.compile(rf"(?<!\w){re.escape(text)}(?!\w)" if is_word else re.escape(text))
            for text, is_word in sorted(spellings.items(), key=lambda s: -len(s[0]))
            if len(text) >= _MIN_LENGTH
        ]
        self.has_password = bool(spellings)

    def __call__(self, text: str) -> str:
        """Give a text without passwords."""
        text = _IN_URL.sub(rf"\1:{_HIDDEN}@", text)
        text = _IN_SETTING.sub(rf"\1{_HIDDEN}", text)
        for pattern in self._patterns:
            text = pattern.sub(_HIDDEN, text)
        return text


def shown(storage: str) -> str:
    """Give a storage, in quotes, without the password in its URL."""
    return repr(Redactor(storage)(storage))


def _passwords(storage: str) -> set[str]:
    """Find the passwords in a URL, as they are written there."""
    found = set()
    if match := _IN_AUTHORITY.match(storage):
        # SQLAlchemy ends a password at the first @, others at the last.
        found |= {match[2], match[2].split("@")[0]}
    for text in (storage, unquote(storage)):  # ODBC has its settings encoded in one.
        found |= {match[0].partition("=")[2] for match in _IN_SETTING.finditer(text)}
    return {password for password in found if password}


def _spellings(secret: str) -> set[str]:
    plain = {secret, unquote(secret), unquote_plus(secret)}
    encoded = {f(text) for text in plain for f in (_quote_all, quote, quote_plus)}
    return plain | encoded | {repr(text)[1:-1] for text in plain}


def _quote_all(text: str) -> str:
    return quote(text, safe="")


def _stands_elsewhere(storage: str, secret: str) -> bool:
    """Tell whether a URL holds the password in another place as well."""
    rest = _IN_SETTING.sub("", unquote(_IN_AUTHORITY.sub(r"\1", storage)))
    return unquote(secret) in rest
