from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import gc
import threading
import time
import weakref

import optuna

from optuna_perfpred.history import PerStudy


def test_threads_that_meet_a_study_at_once_share_one_object():
    made, barrier = [], threading.Barrier(8)

    def make(study):
        time.sleep(0.01)  # The others come meanwhile.
        made.append(study)
        return object()

    per_study, study = PerStudy(make), optuna.create_study()

    def ask(_):
        barrier.wait()
        return per_study.of(study)

    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(ask, range(8))))
    assert len(found) == len(made) == 1


def test_studies_of_one_storage_have_their_own_and_are_forgotten_with_it():
    class Learned:
        pass

    storage = optuna.storages.InMemoryStorage()
    per_study = PerStudy(lambda study: Learned())
    studies = [optuna.create_study(storage=storage) for _ in range(2)]
    first, second = map(per_study.of, studies)
    assert first is not second
    assert (
        per_study.of(optuna.load_study(study_name=studies[0].study_name, storage=storage)) is first
    )
    forgotten = weakref.ref(first)
    del first, second, studies, storage
    gc.collect()
    assert forgotten() is None
