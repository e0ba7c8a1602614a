from __future__ import annotations

from contextlib import nullcontext
import functools
import math
import os
import pickle
from typing import Any
from typing import TYPE_CHECKING
from typing import TypeVar
import warnings

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import BaseTrial
import torch.distributed as dist

from optuna_perfpred.checkpoints import Checkpoint


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    from optuna.artifacts._protocol import ArtifactStore


T = TypeVar("T")


class SharedTrial:
    """A trial that all processes of a training share: rank 0 has it, and tells the others.

    What rank 0 does with the trial is done in its process alone, and all ranks learn how it
    ended, by a broadcast: they stop at the same step, and if it fails on rank 0, it fails on all.
    In a training of one process nothing is broadcast.

    Args:
        trial:
            The trial; an ``optuna_integration.TorchDistributedTrial`` around it; on other ranks
            than 0 also :obj:`None`.
        store:
            Where the training is saved, as for :class:`optuna_perfpred.Checkpoint`; :obj:`None`
            saves nothing.

    Attributes:
        state:
            What was saved last, to go on from; :obj:`None` if the training is new.

    Raises:
        ValueError:
            If there is no trial where one must be.
        RuntimeError:
            If a training in several processes is to go on and they cannot talk to each other yet.
    """

    def __init__(
        self, trial: BaseTrial | None, store: str | os.PathLike[str] | ArtifactStore | None
    ) -> None:
        # That of optuna-integration talks to the others itself, but hangs if its storage fails.
        trial = getattr(trial, "_delegate", trial)
        may_be_absent = _rank() > 0 or (not _is_connected() and _launched_rank() > 0)
        if not isinstance(trial, BaseTrial) and (trial is not None or not may_be_absent):
            raise ValueError(
                "`trial` must be an Optuna trial (or None, on other ranks than 0), "
                f"but got {trial!r}."
            )
        self._trial = trial
        self._process = os.getpid()
        self._value = math.nan
        self._checkpoint: Checkpoint | None = None
        self.is_saved = store is not None
        self.state: bytes | None = None
        if store is None:
            return
        if trial is None and not _is_connected():
            raise RuntimeError(
                "`store` needs a process group: call torch.distributed.init_process_group before."
            )
        if trial is not None:
            self._checkpoint = Checkpoint(trial, store)
        self.state, self._value = self._on_rank_0(self._load)

    @property
    def is_of_several(self) -> bool:
        """Whether the training is by several processes."""
        return _is_connected() and dist.get_world_size() > 1

    @property
    def value(self) -> float:
        """The last value reported, NaN if there is none."""
        if isinstance(self._trial, optuna.Trial):
            # Processes of the training may have reported it.
            values = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
            return values[max(values)] if values else math.nan
        return self._value

    def join(self) -> None:
        """Take part in the training, in each of its processes, before the first report.

        Raises:
            ValueError:
                If the ranks do not train the same trial, or the trial is in the memory of a
                process that is not part of the training.
        """
        trial = self._trial
        if isinstance(trial, optuna.Trial) and os.getpid() != self._process:
            if isinstance(trial.storage, InMemoryStorage):
                raise ValueError(
                    "The processes of the training cannot report to a study in memory: give the "
                    "study a storage, such as a database or a journal."
                )
            # A process that was forked shares its parent's connections to the storage.
            copies = pickle.loads(pickle.dumps((self._trial, self._checkpoint)))
            self._trial, self._checkpoint = copies
            self._process = os.getpid()
        trials = _gather(self._identity())
        if trials[0] is None or any(other not in (None, trials[0]) for other in trials):
            raise ValueError(
                "All ranks must train the trial of rank 0, but theirs are "
                f"{[t and t[1] for t in trials]}: ask for it on rank 0 and give "
                "optuna_integration.TorchDistributedTrial the trial there, None elsewhere."
            )

    def report(self, metrics: Mapping[str, Any], monitor: str, step: int) -> bool:
        """Report a metric as rank 0 has it; tell whether it does."""
        value = self._on_rank_0(lambda trial: _report(trial, metrics, monitor, step))
        if value is None:
            return False
        self._value = value
        return True

    def save(self, read: Callable[[], bytes], step: int) -> None:
        """Save the training, if that is wanted.

        Args:
            read:
                Gives what was written by all ranks; called on rank 0.
            step:
                The step that was trained last.
        """
        if not self.is_saved:
            return
        if _is_connected():
            dist.barrier(_group())

        def save(trial: BaseTrial) -> None:
            assert self._checkpoint is not None
            self._checkpoint.save(read(), step)

        self._on_rank_0(save)

    def stop_if_pruned(self, step: int) -> None:
        """Ask the pruner on rank 0.

        Raises:
            :exc:`optuna.TrialPruned`:
                On all ranks, if the trial is to be pruned.
        """
        number = self._on_rank_0(lambda trial: trial.number if trial.should_prune() else None)
        if number is not None:
            # Leaving its context, the checkpoint removes what a stopped trial needs no more.
            with self._checkpoint or nullcontext():
                raise optuna.TrialPruned(f"Trial {number} was pruned at step {step}.")

    def _identity(self) -> tuple[str, int] | None:
        if self._trial is None:
            return None
        study = self._trial.study.study_name if isinstance(self._trial, optuna.Trial) else ""
        return study, self._trial.number

    def _load(self, trial: BaseTrial) -> tuple[bytes | None, float]:
        assert self._checkpoint is not None
        return self._checkpoint.load(), self._checkpoint.value

    def _on_rank_0(self, function: Callable[[BaseTrial], T]) -> T:
        """Call a function of the trial on rank 0; return on all ranks what it returns."""
        result, failure = None, None
        if _rank() == 0:
            assert self._trial is not None
            try:
                result = function(self._trial)
            except Exception as error:
                failure = error
        if not _is_connected():
            told = None
        else:
            # The error itself may not be possible to send.
            box = [(result, None if failure is None else repr(failure))]
            dist.broadcast_object_list(box, src=0, group=_group())
            result, told = box[0]
        if failure is not None:
            raise failure
        if told is not None:
            raise RuntimeError(f"Rank 0 failed: {told}")
        return result  # type: ignore[return-value]


def _report(trial: BaseTrial, metrics: Mapping[str, Any], monitor: str, step: int) -> float | None:
    value = metrics.get(monitor)
    if value is None:
        warnings.warn(
            f"The metric {monitor!r} is not among what rank 0 has logged, so nothing is reported: "
            f"{', '.join(map(repr, sorted(metrics))) or 'nothing'}.",
            stacklevel=2,
        )
        return None
    try:
        number = float(value)  # A tensor may be on any device.
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The metric {monitor!r} must be a number, but got {value!r}.") from error
    trial.report(number, step)
    return number


def _is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def _rank() -> int:
    return dist.get_rank() if _is_connected() else 0


def _launched_rank() -> int:
    """Give the rank that a launcher such as torchrun says this process is to have."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() else 0


def _group() -> dist.ProcessGroup:
    assert dist.group.WORLD is not None
    return _gloo_group(dist.group.WORLD)


@functools.cache
def _gloo_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """Give a group that sends what is on no GPU."""
    if dist.get_backend(world) == "gloo":
        return world
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return group


def _gather(value: T) -> list[T]:
    if not _is_connected():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values
