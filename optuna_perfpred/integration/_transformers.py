from __future__ import annotations

import io
from pathlib import Path
import shutil
import tempfile
from typing import Any
from typing import TYPE_CHECKING
import warnings
import weakref
import zipfile

from optuna_perfpred._imports import import_extra


if TYPE_CHECKING:
    import os

    from optuna.artifacts._protocol import ArtifactStore
    from optuna.trial import BaseTrial
    from transformers import TrainerCallback
    from transformers import TrainerControl
    from transformers import TrainerState
    from transformers import TrainingArguments
else:
    TrainerCallback = import_extra(
        "transformers", "transformers", "TransformersPruningCallback"
    ).TrainerCallback

from optuna_perfpred.integration._shared_trial import SharedTrial


# Trainer pickles its arguments, does not read them to go on, and has them from the objective.
_LEFT_OUT = {"training_args.bin"}


class TransformersPruningCallback(TrainerCallback):
    """Reports a metric of a Hugging Face ``Trainer``, and stops the trial when the pruner says so.

    ``Trainer.hyperparameter_search`` prunes too, but hangs when it does so with several processes,
    and saves nothing for a later trial.

    In a training by several processes, as started by ``torchrun``, ask for the trial on rank 0
    alone and share it by ``optuna_integration.TorchDistributedTrial``; all ranks then stop at the
    same step.

    The step of a report is the number of epochs if the training evaluates once an epoch
    (``eval_strategy="epoch"``), otherwise that of optimizer steps.

    Example:

        .. code-block:: python

            def objective(trial):
                arguments = TrainingArguments(
                    learning_rate=trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True),
                    eval_strategy="epoch",
                    save_strategy="epoch",
                )
                callback = TransformersPruningCallback(trial, "eval_loss", store="checkpoints")
                trainer = Trainer(
                    model, arguments, train_dataset=train, eval_dataset=valid, callbacks=[callback]
                )
                trainer.train(resume_from_checkpoint=callback.resume_from_checkpoint)
                return callback.value

    Args:
        trial:
            The trial. An ``optuna_integration.TorchDistributedTrial``, or :obj:`None` on other
            ranks than 0, in a training by several processes.
        monitor:
            The name of the metric, with the prefix ``eval_``.
        store:
            A folder or an artifact store that keeps what ``Trainer`` saves, as for
            :class:`optuna_perfpred.Checkpoint`: a trial that is tried again, or goes on with a
            stopped one, then goes on from there. Create the callback once all parameters were
            suggested. :obj:`None` keeps nothing. How often it is saved is said by
            ``save_strategy``; with that of ``eval_strategy`` no step is trained twice.

    Attributes:
        resume_from_checkpoint:
            The folder for :meth:`Trainer.train` to go on from; :obj:`None` if the training is new.

    Raises:
        ImportError:
            If Transformers is not installed.
        ValueError:
            If there is no trial; or, when the training begins, if ranks have different trials.
    """

    def __init__(
        self,
        trial: BaseTrial | None,
        monitor: str = "eval_loss",
        *,
        store: str | os.PathLike[str] | ArtifactStore | None = None,
    ) -> None:
        self.monitor = monitor
        self._shared = SharedTrial(trial, store)
        self._is_training = False
        self._is_due = False
        self.resume_from_checkpoint: str | None = None
        if self._shared.state is not None:
            folder = tempfile.mkdtemp()
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            with zipfile.ZipFile(io.BytesIO(self._shared.state)) as archive:
                archive.extractall(folder)
            self._shared.state = None
            self.resume_from_checkpoint = folder

    @property
    def value(self) -> float:
        """The last value reported, also if nothing was left to train; NaN if there is none."""
        return self._shared.value

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin, in each process of the training."""
        self._is_training, self._is_due = True, False
        self._shared.join()
        if self._shared.is_saved and args.save_strategy == "no":
            warnings.warn("Nothing is saved, as `save_strategy` is 'no'.", stacklevel=2)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report nothing that is evaluated afterwards."""
        self._is_training = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report the metric, and ask the pruner unless that can wait for a checkpoint."""
        if not self._is_training:
            return
        step = _step(args, state)
        if not self._shared.report(kwargs["metrics"], self.monitor, step):
            return
        if self._shared.is_saved and control.should_save:
            self._is_due = True
        else:
            self._shared.stop_if_pruned(step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep what was saved, and ask the pruner if it was not asked before."""
        folder = Path(args.output_dir or "") / f"checkpoint-{state.global_step}"
        step = _step(args, state)
        self._shared.save(lambda: _zip(folder), step)
        if self._is_due:
            self._is_due = False
            self._shared.stop_if_pruned(step)


def _step(args: TrainingArguments, state: TrainerState) -> int:
    if args.eval_strategy == "epoch":
        return int((state.epoch or 0.0) + 1e-6)  # A sum of fractions.
    return int(state.global_step)


def _zip(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in _LEFT_OUT:
                archive.write(path, path.relative_to(folder))
    return file.getvalue()
