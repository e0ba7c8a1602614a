"""Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    if title:
        print(f"\n**{title}**")
    print()
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for row in rows:
        print("|", " | ".join(row), "|", flush=True)


def percent(fraction: float) -> str:
    return f"{100.0 * fraction:g} %"
