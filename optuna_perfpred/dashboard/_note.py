from __future__ import annotations

import hashlib
import re


# Markdown that is not shown: a definition of a link that nothing refers to.
_BEGIN = "[//]: # (optuna-perfpred {}: written anew as trials end, write above or below it)"
_END = "[//]: # (end of optuna-perfpred)"
_BEGIN_LINE = re.escape(_BEGIN).replace(r"\{\}", r"(?P<digest>[0-9a-f]{12})")
# Somebody may have deleted the end of one, which then does not reach to that of the next.
_LINES = rf"(?:(?!{re.escape(_BEGIN.partition('{')[0])}).*\n)*?"
_SECTION = re.compile(
    rf"^{_BEGIN_LINE}[ \t]*\r?\n(?P<text>{_LINES}){re.escape(_END)}[ \t]*\r?$", re.MULTILINE
)


def with_section(note: str, text: str) -> str:
    """Put our section into a study's note, in the place of the one that is there.

    Nothing that a person has written is lost: all else is kept as it is, and a section that
    somebody has edited becomes a part of his text, with the new one below.

    Args:
        note:
            The note as it is, with our section or without.
        text:
            The text of the section, in Markdown.

    Returns:
        The new note.
    """
    own, place = _without_section(note)
    text = text.strip()
    section = f"{_BEGIN.format(_digest(text))}\n\n{text}\n\n{_END}"
    before, after = own[:place].rstrip(), own[place:].strip("\r\n")
    return "\n\n".join(part for part in (before, section, after) if part)


def _without_section(note: str) -> tuple[str, int]:
    """Give the note without our sections, and the place of the last of them, else the end."""
    kept: list[str] = []
    length, place, end = 0, None, 0
    for match in _SECTION.finditer(note):
        edited = _digest(match["text"]) != match["digest"]
        piece = note[end : match.start()] + (match["text"] if edited else "")
        kept.append(piece)
        length += len(piece)
        place, end = length, match.end()
    kept.append(note[end:])
    own = "".join(kept)
    return own, len(own) if place is None else place


def _digest(text: str) -> str:
    # Editors change the ends of lines, but no words.
    plain = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(plain.encode()).hexdigest()[:12]
