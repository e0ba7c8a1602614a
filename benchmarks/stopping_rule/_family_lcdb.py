"""LCDB 1.1: tabular learners, validation error over the number of training examples.

Reads the JSON files of the web explorer: means of 25 splits, without a download of the database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_json
from _curve_set import read_rows
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Numbers of the data sets at OpenML.
_DATA_SETS = """
6 11 13 14 15 18 21 22 23 28 29 30 36 37 38 44 46 50 54 55 60 61 151 180 181 184 185 188 201 273
293 299 336 346 351 357 389 390 392 393 396 398 399 401 446 469 679 715 720 722 728 735 737 740
741 743 751 752 772 797 799 803 806 807 816 819 821 822 823 833 837 843 845 846 847 849 866 871
881 897 901 903 904 910 913 914 917 923 930 953 958 959 962 971 977 978 991 993 995 1000 1002
1018 1019 1036 1040 1041 1042 1049 1050 1053 1056 1063 1067 1069 1083 1084 1085 1086 1088 1120
1128 1138 1139 1146 1161 1166 1216 1235 1236 1441 1448 1450 1457 1462 1465 1468 1477 1478 1479
1480 1483 1485 1486 1487 1488 1489 1494 1497 1499 1501 1503 1509 1510 1515 1566 1567 1590 1597
4534 4538 4541 23381 23512 23517 40664 40668 40670 40677 40685 40687 40701 40713 40900 40910
40923 40927 40966 40971 40975 40981 40982 40983 40984 40996 41027 41143 41144 41146 41150 41156
41157 41163 41164 41165 41166 41168 41169 41228 41972 42734 42742 42769 42809
"""
_FAMILIES = {
    "svm": ("SVM_Linear", "SVM_Poly", "SVM_RBF", "SVM_Sigmoid"),
    "tree": ("Decision Tree", "ExtraTree"),
    "linear": (
        "LogisticRegression",
        "PassiveAggressive",
        "Perceptron",
        "RidgeClassifier",
        "SGDClassifier",
    ),
    "neural": ("MLP", "TabNet", "RealMLP", "TabPFNv2"),
    "discriminant": ("LDA", "QDA"),
    "naive_bayes": ("BernoulliNB", "MultinomialNB", "ComplementNB", "GaussianNB"),
    "neighbours": ("KNN", "NearestCentroid"),
    "ensemble": ("ens.ExtraTrees", "ens.RandomForest", "ens.GradientBoosting", "CatBoost"),
    "dummy": ("DummyClassifier",),
}
_FAMILY_OF = {learner: family for family, names in _FAMILIES.items() for learner in names}
_FACTS = {"features": "#Features", "samples": "#Samples", "classes": "#Classes"}
_VALIDATION = 1
# The curves are cut where so many learners are left; those that end before are left out.
_N_LEARNERS = 25


def _runs(file: Path, learners: list[str]) -> list[Run]:
    recorded = read_json(file)
    try:
        # Learner, mean or standard error, number of examples, part of the data.
        curves = [
            {
                step: float(parts[_VALIDATION])
                for step, parts in enumerate(of_learner[0], start=1)
                if parts[_VALIDATION] is not None
            }
            for of_learner in recorded
        ]
    except (IndexError, TypeError) as error:
        raise CloneError(f"{file} is not a table of learning curves: {error}.") from error
    ends = sorted((max(curve, default=0) for curve in curves), reverse=True)
    end = ends[min(_N_LEARNERS, len(ends)) - 1]
    return [
        Run(
            {"learner": learner, "family": _FAMILY_OF.get(learner, "other")},
            {step: value for step, value in curve.items() if step <= end},
        )
        for learner, curve in zip(learners, curves, strict=True)
        if max(curve, default=0) >= max(end, 1)
    ]


def _set_name(number: str, name: str) -> str:
    return f"lcdb_{number}_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}"


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    explorer = read_json(clone / "docs" / "data" / "meta.json")
    if not {"learners", "anchors"} <= set(explorer):
        raise CloneError(f"{clone / 'docs' / 'data' / 'meta.json'} has no learners or no anchors.")
    rows = read_rows(
        clone / "metadata" / "datasets_FULL_summary.csv", "OpenML_ID", "Name", *_FACTS.values()
    )
    described = {row["OpenML_ID"]: row for row in rows}
    for number in _DATA_SETS.split():
        runs = _runs(clone / "docs" / "data" / "er" / f"{number}.json", explorer["learners"])
        row = described.get(number)
        if row is None:
            raise CloneError(f"The summary of the data sets has no number {number}.")
        n_steps = max(max(run.curve) for run in runs)
        yield CurveSet(
            _set_name(number, row["Name"]),
            "minimize",
            "validation error rate, mean of 25 splits",
            f"docs/data/er/{number}.json: OpenML data set {number} {row['Name']}; step k is a "
            "training on anchors[k-1] examples",
            runs,
            {
                "anchors": explorer["anchors"][:n_steps],
                **{name: row[column] for name, column in _FACTS.items()},
            },
        )


FAMILY = Family(
    "lcdb",
    "tabular learners, validation error over the number of training examples",
    {"learning-curve-research/LCDB-1.1": "37c3d9a3"},
    "CC BY 4.0",
    tuple(f"lcdb_{number}" for number in _DATA_SETS.split()),
    convert,
)
