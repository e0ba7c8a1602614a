"""All that a pruner says of a trial, as a colleague would: one short sentence."""

from __future__ import annotations

import re


_NUMBER = r"-?\d[\d.,]*(?:e[+-]\d+)?"
_CHANCE = rf"(?:less than |more than )?{_NUMBER} % chance"
_END = rf"predicted to end at {_NUMBER} ± {_NUMBER}"
_TO_BEAT = (
    rf"{_NUMBER}(?:, the (?:{_NUMBER}\w\w )?best value so far(?: less the offset of {_NUMBER})?)?"
)
SENTENCES = {
    "rule": rf"At step \d+: {_CHANCE} to beat {_TO_BEAT}, {_END}; (?:new trials have (?:over )?"
    rf"{_NUMBER} times its|{_NUMBER} times a new trial's) chance per step\.",
    "predictor": rf"At step \d+: {_CHANCE} to beat {_TO_BEAT}, {_END}\.",
    "peers": r"At step \d+: \d+(?:st|nd|rd|th) of \d+ trials that have come as far, none of them "
    rf"complete; {_CHANCE} to end as the best of them\.",
    "rung": rf"At step \d+: predicted to reach {_NUMBER} ± {_NUMBER} at step \d+; {_CHANCE} to be "
    rf"among the best \d+ of the \d+ trials of its rung, at {_NUMBER}\.",
    "wrapped": r"Pruned by the wrapped \w+\.",
    "second chance": rf"Goes on with trial \d+, stopped at step \d+: by now {_CHANCE} to beat "
    rf"{_NUMBER}; per step {_NUMBER} times that of a new trial\.",
}
MAX_LENGTH = 150


def is_sentence(kind: str, text: str) -> bool:
    """Tell whether a text is the sentence of its kind, and short."""
    return re.fullmatch(SENTENCES[kind], text) is not None and len(text) <= MAX_LENGTH
