from __future__ import annotations

from pathlib import Path
import re
import shutil
import tempfile
from typing import Any
from typing import TYPE_CHECKING
import weakref

import optuna

from optuna_perfpred._imports import import_extra


if TYPE_CHECKING:
    import os

    from lightning.pytorch import Callback
    from lightning.pytorch import LightningModule
    from lightning.pytorch import Trainer
    from optuna.artifacts._protocol import ArtifactStore
    from optuna.trial import BaseTrial
else:
    Callback = import_extra("lightning.pytorch", "lightning", "LightningPruningCallback").Callback

import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from optuna_perfpred.integration._shared_trial import SharedTrial


class LightningPruningCallback(Callback):
    """Reports a metric of a Lightning training, and stops the trial when the pruner says so.

    Unlike that of optuna-integration it works with any storage and launcher in a training by
    several processes (DDP), needs no call after :meth:`Trainer.fit`, stops also before
    ``min_epochs``, and saves the training for a later trial.

    Rank 0 reports what it has logged (``sync_dist=True`` logs the mean over ranks) and asks the
    pruner; all ranks stop at the same step. With ``strategy="ddp_spawn"`` or ``"ddp_fork"`` the
    objective is as for one process, but the study must not be in memory. If the processes were
    started before, as by ``torchrun``, ask for the trial on rank 0 alone and share it by
    ``optuna_integration.TorchDistributedTrial``.

    The step of a report is the epoch if the training validates once an epoch or less often, or
    never; otherwise it is the number of optimizer steps.

    Example:

        .. code-block:: python

            def objective(trial):
                model = Model(trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True))
                callback = LightningPruningCallback(trial, "val_accuracy", store="checkpoints")
                trainer = lightning.Trainer(max_epochs=20, callbacks=[callback])
                trainer.fit(
                    model, train, valid, ckpt_path=callback.ckpt_path, weights_only=True
                )
                return callback.value

    Args:
        trial:
            The trial. An ``optuna_integration.TorchDistributedTrial``, or :obj:`None` on other
            ranks than 0, if the processes were started before.
        monitor:
            The name under which the metric is logged, such as ``"val_loss"``.
        store:
            A folder or an artifact store in which to save the training after each report, as for
            :class:`optuna_perfpred.Checkpoint`: a trial that is tried again, or goes on with a
            stopped one, then goes on from there. Create the callback once all parameters were
            suggested. :obj:`None` saves nothing. One file must hold Lightning's checkpoint.

    Attributes:
        ckpt_path:
            Lightning's checkpoint to go on from; :obj:`None` if the training is new.

    Raises:
        ImportError:
            If Lightning is not installed.
        ValueError:
            If there is no trial; or, when the training begins, if ranks have different trials, or
            the study is in the memory of another process.
    """

    def __init__(
        self,
        trial: BaseTrial | None,
        monitor: str,
        *,
        store: str | os.PathLike[str] | ArtifactStore | None = None,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self._shared = SharedTrial(trial, store)
        self._has_validated = False
        self.ckpt_path: str | None = None
        if self._shared.state is not None:
            folder = tempfile.mkdtemp()
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder) / "lightning.ckpt"
            path.write_bytes(self._shared.state)
            self._shared.state = None
            self.ckpt_path = str(path)

    @property
    def value(self) -> float:
        """The last value reported, also if nothing was left to train; NaN if there is none."""
        return self._shared.value

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin, in each process of the training."""
        if stage == "fit":
            self._shared.join()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was validated, unless the epoch ends with it."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._has_validated = True
        if not _ends_epochs(trainer):
            self._report(trainer, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was validated, or trained if nothing ever is validated."""
        is_due = self._has_validated or not any(trainer.num_val_batches)
        self._has_validated = False
        if is_due and _ends_epochs(trainer):
            self._report(trainer, trainer.current_epoch)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Raise in the process of the objective what processes that it started have raised.

        Raises:
            :exc:`optuna.TrialPruned`:
                If it was that.
        """
        if isinstance(exception, ProcessRaisedException):
            pruned = re.search(
                r"TrialPruned: (Trial \d+ was pruned at step \d+\.)", str(exception)
            )
            if pruned is not None:
                raise optuna.TrialPruned(pruned[1]) from None

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the generator, so that batches are drawn as without a stop."""
        return {"generator": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the generator; with several ranks it is that of one of them."""
        if not self._shared.is_of_several:
            torch.set_rng_state(state_dict["generator"])

    def _report(self, trainer: Trainer, step: int) -> None:
        if not self._shared.report(trainer.callback_metrics, self.monitor, step):
            return
        if self._shared.is_saved:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "lightning.ckpt"
                trainer.save_checkpoint(path)  # All ranks must; rank 0 writes.
                self._shared.save(path.read_bytes, step)
        self._shared.stop_if_pruned(step)


def _ends_epochs(trainer: Trainer) -> bool:
    """Tell whether a validation only ever follows the last batch of an epoch."""
    return trainer.check_val_every_n_epoch is not None and (
        not any(trainer.num_val_batches) or trainer.val_check_batch == trainer.num_training_batches
    )
