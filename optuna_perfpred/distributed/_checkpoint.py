from __future__ import annotations

import logging
import math
import os
import re
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
import uuid

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import BaseTrial
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.distributed._checkpoint_file import DamagedError
from optuna_perfpred.distributed._checkpoint_file import pack
from optuna_perfpred.distributed._checkpoint_file import unpack
from optuna_perfpred.distributed._folder_store import FolderStore
from optuna_perfpred.pruners._warn_once import WarnOnce


if TYPE_CHECKING:
    from types import TracebackType

    from optuna.artifacts._protocol import ArtifactStore
    from optuna.trial import FrozenTrial

    from optuna_perfpred.distributed._checkpoint_file import SavedState


# The names of the checkpoints that a trial may go on from, those of its own first. A user
# attribute, because a retried trial is given those of the trial before it.
_ATTR = "perfpred:checkpoint"
# What the storage holds is used in the names of files.
_NAME = re.compile(r"[0-9a-f]{32}")
# A checkpoint is written over the one before the last, so that one is always whole.
_SLOTS = (0, 1)

_logger = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """Where a trial begins.

    Attributes:
        start:
            The first step to train: 0, or the one after the checkpoint.
        state:
            What was saved, with all tensors on the CPU; :obj:`None` if the trial begins anew.
        value:
            The last value reported until the checkpoint, for an objective that returns its last
            value: nothing may be left to train. NaN if there is none.
    """

    start: int
    state: Any
    value: float


class Checkpoint:
    """Saves a training, so that a retried trial goes on where the one before it stopped.

    A trial whose worker died, or was stopped, is tried again by the storage's
    :class:`optuna.storages.RetryHeartbeatStaleTrialCallback`, by ``optuna-perfpred worker`` or by
    hand. In the new trial, maybe on another host, :meth:`load` gives the state that was saved
    last, and reports again what had been reported until then: the learning curve is whole, ends
    at the checkpoint, and the pruner sees a trial that had never stopped.

    Report, ask the pruner, then save: what is saved has been judged, and of an epoch that was
    not saved, report and judgement are those of its second training. What the first one had
    reported is not on the new trial, unless the callback was told to
    ``inherit_intermediate_values``: storages keep the first value of a step, so that of the first
    training then stays, and Optuna warns at each report that is ignored.

    Nothing is unpickled: a state is bytes, or is read by ``torch.load(weights_only=True)``. A
    damaged file is left out with a warning, and the checkpoint before it is used. If the store
    fails, a warning tells it once, and the training goes on.

    Trials outside of a study, such as :class:`optuna.trial.FixedTrial`, begin anew and save
    nothing.

    .. note::
        A retried trial has another number. Derive seeds from what stays, for instance from a
        user attribute, or save the states of the generators.

    Example:

        .. code-block:: python

            def objective(trial):
                network, optimizer = build(trial)
                with Checkpoint(trial, "checkpoints") as checkpoint:
                    start, state, accuracy = checkpoint.load()
                    if state is not None:
                        network.load_state_dict(state["network"])
                        optimizer.load_state_dict(state["optimizer"])
                    for epoch in range(start, 20):
                        accuracy = train_one_epoch(network, optimizer)
                        trial.report(accuracy, epoch)
                        if trial.should_prune():
                            raise optuna.TrialPruned
                        checkpoint.save(
                            epoch,
                            {
                                "network": network.state_dict(),
                                "optimizer": optimizer.state_dict(),
                            },
                        )
                return accuracy

    Used as a context manager, it removes the checkpoints of a trial that ends well, which being
    pruned is; if the objective fails or is stopped, they stay.

    Args:
        trial:
            The trial.
        store:
            A folder, which all hosts must share on which the trial may be tried again; it is made
            if it is missing. Or an artifact store, such as
            :class:`optuna.artifacts.Boto3ArtifactStore`; wrapped in
            :class:`optuna.artifacts.Backoff` it is asked again if it fails. Studies may share a
            store. A trial has two checkpoints of its own there, in case that one is damaged, and
            those of the trial that it goes on from.

    Raises:
        ValueError:
            If an argument is of another kind.
        OSError:
            If the folder cannot be made.
    """

    def __init__(self, trial: BaseTrial, store: str | os.PathLike[str] | ArtifactStore) -> None:
        if not isinstance(trial, BaseTrial):
            raise ValueError(f"`trial` must be an Optuna trial, but got {trial!r}.")
        if isinstance(store, str | os.PathLike):
            store = FolderStore(store)
        elif not all(hasattr(store, name) for name in ("open_reader", "write", "remove")):
            raise ValueError(
                f"`store` must be a folder or an artifact store of Optuna, but got {store!r}."
            )
        self._store = store
        self._trial = trial if isinstance(trial, optuna.Trial) else None
        self._names = _read_names(trial)
        self._own_name: str | None = None
        self._loaded_name: str | None = None
        self._n_saved = 0
        self._warn_once = WarnOnce()

    def load(self) -> Resumed:
        """Give the latest state, and report what had been reported until it was saved.

        Call it before the first report.

        Returns:
            Where to begin. ``Resumed(0, None, nan)`` if nothing was saved.
        """
        if self._trial is None:
            return Resumed(0, None, math.nan)
        for name in self._names:
            for saved in self._read(name):
                resumed = self._resume(name, saved)
                if resumed is not None:
                    self._loaded_name = name
                    return resumed
        if self._names:
            self._warn_once(
                f"No checkpoint that can be used is in {self._store}: the trial begins anew. A "
                "folder must be shared by the hosts."
            )
        return Resumed(0, None, math.nan)

    def save(self, step: int, state: Any) -> None:
        """Save the training after a step. The process may die meanwhile.

        Args:
            step:
                The step that was trained last.
            state:
                All that the training needs to go on. Bytes, or something of tensors, numbers,
                strings, lists and dictionaries, such as the ``state_dict`` of a PyTorch module;
                the latter is read with ``torch.load(weights_only=True)``.

        Raises:
            ValueError:
                If the state could not be read without unpickling, or the step is negative.
            ImportError:
                If the state is not bytes and PyTorch is missing.
            :exc:`optuna.exceptions.UpdateFinishedTrialError`:
                At the first call, if another process has ended the trial: who was cut off for
                longer than the grace period has no trial any more.
        """
        check_at_least("step", step, 0)
        if self._trial is None:
            return
        file = pack(self._trial.number, int(step), state, verify=self._n_saved == 0)
        if self._own_name is None:
            self._own_name = self._take_name()
        try:
            self._store.write(f"{self._own_name}-{self._n_saved % len(_SLOTS)}", file)
        except Exception as error:
            self._warn_once("A checkpoint could not be saved", error)
        else:
            self._n_saved += 1

    def remove(self) -> None:
        """Remove the checkpoints of the trial and of those that it retries.

        Raises:
            :exc:`optuna.exceptions.UpdateFinishedTrialError`:
                If another process has ended the trial: a retry may need them.
        """
        if self._trial is None or not self._names:
            return
        self._trial.set_user_attr(_ATTR, [])
        self._remove(self._names)
        self._names, self._own_name, self._loaded_name = [], None, None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None or issubclass(error_type, optuna.TrialPruned):
            self.remove()

    def _read(self, name: str) -> list[SavedState]:
        """Read what can be read of a trial's checkpoints, the latest one first."""
        found = []
        for slot in _SLOTS:
            try:
                with self._store.open_reader(f"{name}-{slot}") as reader:
                    found.append(unpack(reader.read()))
            except ArtifactNotFound:
                pass
            except DamagedError as error:
                self._warn_once("A checkpoint is left out", error)
            except Exception as error:
                self._warn_once("A checkpoint could not be read", error)
        return sorted(found, key=lambda saved: saved.step, reverse=True)

    def _resume(self, name: str, saved: SavedState) -> Resumed | None:
        trial = self._trial
        before = self._trial_before(name, saved.number)
        if trial is None or before is None:
            return None
        try:
            state = saved.decode()
        except ImportError:
            raise
        except Exception as error:
            self._warn_once("A checkpoint could not be decoded", error)
            return None
        reported = trial.storage.get_trial(trial._trial_id).intermediate_values
        curve = {s: v for s, v in before.intermediate_values.items() if s <= saved.step}
        for step in sorted(curve.keys() - reported.keys()):
            trial.report(curve[step], step)
        curve.update((s, v) for s, v in reported.items() if s <= saved.step)
        _logger.info(
            "Trial %d goes on after step %d, as saved by trial %d.",
            trial.number,
            saved.step,
            saved.number,
        )
        return Resumed(saved.step + 1, state, curve[max(curve)] if curve else math.nan)

    def _trial_before(self, name: str, number: int) -> FrozenTrial | None:
        """Give the trial that saved a checkpoint, unless it has ended well."""
        trial = self._trial
        assert trial is not None
        try:
            trial_id = trial.storage.get_trial_id_from_study_id_trial_number(
                trial.study._study_id, number
            )
        except KeyError:
            return None
        before = trial.storage.get_trial(trial_id)
        # A trial that was stopped may still be running when its retry begins.
        has_ended_well = before.state in (TrialState.COMPLETE, TrialState.PRUNED)
        return before if name in _read_names(before) and not has_ended_well else None

    def _take_name(self) -> str:
        """Leave a new name on the trial, so that a retry finds what will be saved under it."""
        assert self._trial is not None
        name = uuid.uuid4().hex
        # Until something is saved under it, the trial may have to go on from the last one.
        kept = self._names[:1] if self._loaded_name is None else [self._loaded_name]
        dropped = [other for other in self._names if other not in kept]
        self._names = [name, *kept]
        self._trial.set_user_attr(_ATTR, self._names)
        self._remove(dropped)
        return name

    def _remove(self, names: list[str]) -> None:
        for name in names:
            for slot in _SLOTS:
                try:
                    self._store.remove(f"{name}-{slot}")
                except ArtifactNotFound:
                    pass
                except Exception as error:
                    self._warn_once("A checkpoint could not be removed", error)


def _read_names(trial: BaseTrial | FrozenTrial) -> list[str]:
    names = trial.user_attrs.get(_ATTR)
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
