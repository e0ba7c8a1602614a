from __future__ import annotations

import pytest

from optuna_perfpred.dashboard._panels import with_section


OWN = "# My study\n\nThe data of May.\n"


@pytest.mark.parametrize("own", ["", OWN, "[//]: # (optuna-perfpred by me)", "a\r\n\r\nb"])
def test_a_section_is_replaced_and_all_else_kept(own):
    note = with_section(own, "first")
    assert note.startswith(own.rstrip())
    assert "first" in note
    again = with_section(note, "second")
    assert again == with_section(own, "second")
    assert "first" not in again


def test_what_is_written_above_and_below_stays_where_it_is():
    note = f"the top\n\n{with_section('', 'first')}\n\nthe bottom"
    note = with_section(note, "second")
    assert note.index("the top") < note.index("second") < note.index("the bottom")
    assert with_section(note, "second") == note


def test_what_is_written_into_the_section_is_kept():
    note = with_section(OWN, "40 steps were saved.")
    edited = note.replace("40 steps", "40 steps (with the old data)")
    new = with_section(edited, "50 steps were saved.")
    assert "40 steps (with the old data) were saved." in new
    assert "50 steps were saved." in new
    # From then on it is the person's.
    last = with_section(new, "60 steps were saved.")
    assert "40 steps (with the old data) were saved." in last
    assert "50 steps were saved." not in last


def test_a_section_without_its_end_is_the_persons():
    note = with_section(OWN, "first")
    torn = note[: note.index("[//]: # (end")]
    new = with_section(torn, "second")
    assert new.startswith(torn.rstrip())
    assert "second" in new
    assert with_section(new, "third").startswith(torn.rstrip())
