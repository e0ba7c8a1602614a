from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING
import uuid

import optuna
from optuna.trial import BaseTrial
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.checkpoints._files import CheckpointFiles
from optuna_perfpred.checkpoints._files import pack
from optuna_perfpred.checkpoints._kept import NAMES
from optuna_perfpred.checkpoints._kept import names_in
from optuna_perfpred.checkpoints._kept import names_in_reach
from optuna_perfpred.checkpoints._kept import names_to_remove
from optuna_perfpred.history import CHECKPOINT
from optuna_perfpred.history import CONTINUES
from optuna_perfpred.history import have_same_params
from optuna_perfpred.history import RESUMED_AT
from optuna_perfpred.history import stopped_before


if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from optuna.artifacts._protocol import ArtifactStore
    from optuna.trial import FrozenTrial

    from optuna_perfpred.checkpoints._files import SavedState


_logger = logging.getLogger(__name__)


class Checkpoint:
    """Saves a training, so that it can go on in a later trial.

    There are two reasons why it may have to. The worker died, or was told to stop: the trial is
    tried again by the storage's :class:`optuna.storages.RetryHeartbeatStaleTrialCallback`, by
    ``optuna-perfpred worker`` or by hand. Or the pruner stopped the trial, and it is now worth
    more than a new one: a trial with the same parameters waits whose user attribute
    ``perfpred:continues`` is the number of the stopped one. In that new trial, maybe on another
    host, :meth:`load` gives the state that was saved last, and reports again what had been
    reported until then: the learning curve is whole, ends at the checkpoint, and the pruner sees
    a trial that had never ended. A trial that goes on can be stopped and go on again.

    Report, save, then ask the pruner: a trial that is stopped then loses no step. If the state is
    saved after the pruner was asked, the step at which a trial was stopped is trained again. What
    was reported after the checkpoint is not on the new trial, unless the callback was told to
    ``inherit_intermediate_values``: storages keep the first value of a step, so that of the first
    training then stays, and Optuna warns at each report that is ignored.

    Nothing is unpickled: a state is bytes, or is read by ``torch.load(weights_only=True)``. A
    damaged file is left out with a warning, and the checkpoint before it is used; if no file can
    be used, or the parameters are others, the training begins anew. If the store fails, for
    instance because the disk is full, a warning tells it once, and the training goes on.

    Stopped trials keep their checkpoints while they may be continued, within a budget. As a
    context manager, it removes those of a trial that is complete at once, and the least promising
    of the stopped ones when a trial is stopped; otherwise that is done when the next trial saves
    for the first time. If the objective fails or is interrupted, they stay. Call :meth:`clear`
    when the study is finished.

    A trial that saves has the user attribute ``perfpred:checkpoint``, which is true: whoever
    decides what to continue then knows that only the steps that are left are to be paid. One that
    has loaded has ``perfpred:resumed_at``, the step of the checkpoint: what it has reported until
    there was not trained again.

    Trials outside of a study, such as :class:`optuna.trial.FixedTrial`, begin anew and save
    nothing.

    .. note::
        The new trial has another number. Derive seeds from what stays, for instance from the
        parameters, or save the states of the generators.

    Example:

        .. code-block:: python

            def objective(trial):
                network, optimizer = build(trial)
                with Checkpoint(trial, "checkpoints") as checkpoint:
                    state = checkpoint.load()
                    if state is not None:
                        network.load_state_dict(state["network"])
                        optimizer.load_state_dict(state["optimizer"])
                    accuracy = checkpoint.value
                    for epoch in range(checkpoint.start, 20):
                        accuracy = train_one_epoch(network, optimizer)
                        trial.report(accuracy, epoch)
                        checkpoint.save(
                            {
                                "network": network.state_dict(),
                                "optimizer": optimizer.state_dict(),
                            },
                            epoch,
                        )
                        if trial.should_prune():
                            raise optuna.TrialPruned
                return accuracy


            study.optimize(objective, n_trials=100)
            Checkpoint.clear(study, "checkpoints")

    Args:
        trial:
            The trial.
        store:
            A folder, which all hosts must share on which the trial may go on; it is made if it is
            missing. Or an artifact store, such as :class:`optuna.artifacts.Boto3ArtifactStore`;
            wrapped in :class:`optuna.artifacts.Backoff` it is asked again if it fails. Studies
            may share a store. A running trial has two checkpoints of its own there, in case that
            one is damaged, and those of the trial that it goes on from; a stopped one has one.
        keep:
            How many stopped trials keep their checkpoint. Those go first whose predicted value,
            as the pruner left it, or else last reported value, is worst. Of a hundred stopped
            trials few are ever worth to be continued.
        max_bytes:
            How many bytes the checkpoints of stopped trials may have in all; only for folders.
            :obj:`None` is no limit but ``keep``.

    Attributes:
        start:
            The first step to train: 0, or the one after the checkpoint that was loaded.
        value:
            The last value reported until that checkpoint, for an objective that returns its last
            value: nothing may be left to train. NaN if there is none.

    Raises:
        ValueError:
            If an argument is of another kind.
        OSError:
            If the folder cannot be made.
    """

    def __init__(
        self,
        trial: BaseTrial,
        store: str | os.PathLike[str] | ArtifactStore,
        *,
        keep: int = 20,
        max_bytes: int | None = None,
    ) -> None:
        if not isinstance(trial, BaseTrial):
            raise ValueError(f"`trial` must be an Optuna trial, but got {trial!r}.")
        check_at_least("keep", keep, 0)
        if max_bytes is not None:
            check_at_least("max_bytes", max_bytes, 0)
        self._files = CheckpointFiles(store)
        if max_bytes is not None and not self._files.are_listed:
            raise ValueError(
                f"`max_bytes` must be None unless `store` is a folder, but got {max_bytes!r}."
            )
        self._keep = keep
        self._max_bytes = max_bytes
        self._trial = trial if isinstance(trial, optuna.Trial) else None
        self._own_name: str | None = None
        self._loaded_name: str | None = None
        self._n_saved = 0
        self._warn_once = self._files.warn_once
        self.start = 0
        self.value = math.nan

    def load(self) -> Any:
        """Give the latest state, and report what had been reported until it was saved.

        Call it once all parameters were suggested, and before the first report.

        Returns:
            What was saved, with all tensors on the CPU; :obj:`None` if the training is new.
        """
        if self._trial is None or not self._trial.user_attrs.keys() & {NAMES, CONTINUES}:
            return None
        trials = self._trial.study.get_trials(deepcopy=False)
        trial = trials[self._trial.number]
        stopped = stopped_before(trial, trials)
        continues = trial.user_attrs.get(CONTINUES)
        if continues is not None and not stopped:
            self._warn_once(
                f"Trial {trial.number} does not go on from a checkpoint: its user attribute "
                f"{CONTINUES!r} must be the number of an earlier trial that was stopped, with the "
                f"same parameters, but is {continues!r}"
            )
        names = names_in_reach(trial, trials)
        for name in names:
            for saved in self._files.read(name):
                before = self._saver(name, saved, trials, stopped)
                if before is None:
                    continue
                try:
                    state = saved.decode()
                except ImportError:
                    raise
                except Exception as error:
                    self._warn_once("A checkpoint could not be decoded", error)
                    continue
                self._loaded_name = name
                self._go_on(before, saved.step)
                return state
        if self._trial.user_attrs.get(RESUMED_AT) is not None:
            # A retry starts with the attributes of the trial that died.
            self._trial.set_user_attr(RESUMED_AT, None)
        if names:
            self._warn_once(
                f"No checkpoint that can be used is in {self._files}: the trial begins anew. A "
                "folder must be shared by the hosts."
            )
        return None

    def save(self, state: Any, step: int) -> None:
        """Save the training after a step. The process may die meanwhile.

        Args:
            state:
                All that the training needs to go on. Bytes, or something of tensors, numbers,
                strings, bytes, lists and dictionaries, such as the ``state_dict`` of a PyTorch
                module; the latter is read with ``torch.load(weights_only=True)``.
            step:
                The step that was trained last.

        Raises:
            ValueError:
                If the state is :obj:`None` or could not be read without unpickling, or the step
                is negative.
            ImportError:
                If the state is not bytes and PyTorch is missing.
            :exc:`optuna.exceptions.UpdateFinishedTrialError`:
                At the first call, if another process has ended the trial: who was cut off for
                longer than the grace period has no trial any more.
        """
        check_at_least("step", step, 0)
        if state is None:
            raise ValueError("`state` must be what the training needs to go on, but got None.")
        if self._trial is None:
            return
        file = pack(self._trial.number, int(step), state, verify=self._n_saved == 0)
        if self._own_name is None:
            self._own_name = self._take_name(self._trial)
            self._tidy()
        if self._files.write(self._own_name, self._n_saved, file):
            self._n_saved += 1

    def remove(self) -> None:
        """Remove the checkpoints of the trial and of those that it goes on from.

        Raises:
            :exc:`optuna.exceptions.UpdateFinishedTrialError`:
                If another process has ended the trial: a retry may need them.
        """
        if self._trial is None or not self._trial.user_attrs.keys() & {NAMES, CONTINUES}:
            return
        trials = self._trial.study.get_trials(deepcopy=False)
        names = names_in_reach(trials[self._trial.number], trials)
        self._trial.set_user_attr(NAMES, [])
        self._files.remove(names)
        self._own_name, self._loaded_name = None, None

    @staticmethod
    def clear(study: optuna.Study, store: str | os.PathLike[str] | ArtifactStore) -> None:
        """Remove the checkpoints of a study that is finished.

        Call it after the last :meth:`optuna.Study.optimize`: no stopped trial can go on from its
        checkpoint afterwards, nor one that failed. Those of trials that still run, or wait, stay.
        What cannot be removed is warned of.

        Args:
            study:
                The study.
            store:
                As for the trials.

        Raises:
            ValueError:
                If an argument is of another kind.
        """
        if not isinstance(study, optuna.Study):
            raise ValueError(f"`study` must be a study of Optuna, but got {study!r}.")
        if isinstance(store, str | os.PathLike) and not Path(store).exists():
            return
        files = CheckpointFiles(store)
        trials = study.get_trials(deepcopy=False)
        names, in_use = [], set()
        for trial in trials:
            if trial.state.is_finished():
                names += names_in(trial.user_attrs)
            else:
                in_use.update(names_in_reach(trial, trials))
        files.remove(name for name in dict.fromkeys(names) if name not in in_use)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.remove()
        elif issubclass(error_type, optuna.TrialPruned):
            self._tidy(is_stopped=True)

    def _saver(
        self,
        name: str,
        saved: SavedState,
        trials: Sequence[FrozenTrial],
        stopped: Sequence[FrozenTrial],
    ) -> FrozenTrial | None:
        """Give the trial that saved a checkpoint, if this trial may go on from it."""
        if not 0 <= saved.number < len(trials):
            return None
        before = trials[saved.number]
        # A trial that was told to stop may still be running when its retry begins.
        has_ended = before.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if name not in names_in(before.user_attrs) or (has_ended and before not in stopped):
            return None
        assert self._trial is not None
        if not have_same_params(trials[self._trial.number], before):
            self._warn_once(
                f"A checkpoint is left out: trial {before.number}, which saved it, has other "
                "parameters"
            )
            return None
        return before

    def _go_on(self, before: FrozenTrial, step: int) -> None:
        trial = self._trial
        assert trial is not None
        trial.set_user_attr(RESUMED_AT, step)
        reported = trial.storage.get_trial(trial._trial_id).intermediate_values
        curve = {s: v for s, v in before.intermediate_values.items() if s <= step}
        for s in sorted(curve.keys() - reported.keys()):
            trial.report(curve[s], s)
        curve.update((s, v) for s, v in reported.items() if s <= step)
        self.start = step + 1
        self.value = curve[max(curve)] if curve else math.nan
        _logger.info(
            f"Trial {trial.number} goes on after step {step}, as saved by trial {before.number}."
        )

    def _take_name(self, trial: optuna.Trial) -> str:
        """Leave a new name on the trial, so that a later one finds what will be saved under it."""
        name = uuid.uuid4().hex
        names = names_in(trial.user_attrs)
        # Until something is saved under it, the trial may have to go on from the last one.
        kept = names[:1] if self._loaded_name is None else [self._loaded_name]
        trial.set_user_attr(NAMES, [name, *kept])
        trial.set_user_attr(CHECKPOINT, True)
        self._files.remove(other for other in names if other not in kept)
        return name

    def _tidy(self, *, is_stopped: bool = False) -> None:
        """Remove what the trials of the study need no more, if this one ends or not."""
        if self._trial is None:
            return
        try:
            study = self._trial.study
            trials = study.get_trials(deepcopy=False)
            names = names_to_remove(
                trials,
                study.directions[0],
                keep=self._keep,
                max_bytes=self._max_bytes,
                sizes=self._files.sizes(),
                ending=self._trial.number if is_stopped else None,
            )
            self._files.remove(names)
            if is_stopped and self._own_name is not None:
                self._files.remove_older(self._own_name, self._n_saved)
        except Exception as error:
            # No trial is to fail because of files that are left.
            self._warn_once("The checkpoints of other trials could not be removed", error)
