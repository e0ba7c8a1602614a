"""The benchmarks of MLPerf whose logs are converted."""

from __future__ import annotations

from typing import NamedTuple


COMMITS = {
    "hpc_results_v1.0": "2ba081f4",
    "hpc_results_v2.0": "ad77f6ce",
    "hpc_results_v3.0": "dfea490b",
    "training_results_v1.1": "ebe92f81",
    "training_results_v2.1": "158189d4",
    "training_results_v3.1": "d06288b2",
    "training_results_v4.0": "6fe95437",
    "training_results_v5.0": "0fdc28f0",
    "training_results_v5.1": "441d65f4",
}
# A larger position is a number of samples.
_LARGEST_EPOCH = 100_000
_HPC = ("hpc_results_v1.0", "hpc_results_v2.0", "hpc_results_v3.0")


class Benchmark(NamedTuple):
    """What the logs of a benchmark look like.

    Args:
        direction: "maximize" or "minimize".
        metric: What is evaluated.
        what: The model and the data.
        step: What a step of the curves is, in words.
        rounds: The repositories that have logs of it.
        hyperparameters: Keys that are logged before the first evaluation, separated by blanks.
        unit: The length of a step, in the unit of the position that is logged.
        origin: Where the first step begins.
        position: The entry of the metadata that tells when the evaluation was.
        evaluation: The key of the evaluations.
        nearest: 0.5 if a report belongs to the step whose end is nearest, 0 if to the one that
            it is in.
        samples_per_epoch: If some submitters log samples where the others log epochs, how many
            an epoch has.
    """

    direction: str
    metric: str
    what: str
    step: str
    rounds: tuple[str, ...]
    hyperparameters: str
    unit: float
    origin: float = 0.0
    position: str = "epoch_num"
    evaluation: str = "eval_accuracy"
    nearest: float = 0.5
    samples_per_epoch: int | None = None

    def steps(self, position: float) -> float:
        """A logged position in steps."""
        samples = self.samples_per_epoch
        if samples is not None and position > _LARGEST_EPOCH:
            position /= samples
        return (position - self.origin) / self.unit


def _training(*versions: str) -> tuple[str, ...]:
    return tuple(f"training_results_v{version}" for version in versions)


BENCHMARKS = {
    "bert": Benchmark(
        "maximize",
        "masked-LM accuracy",
        "BERT-large pre-training, phase 2",
        "150,000 sequences",
        _training("1.1", "2.1", "3.1", "4.0", "5.0"),
        "global_batch_size d_batch_size gradient_accumulation_steps max_predictions_per_seq "
        "opt_learning_rate_training_steps num_warmup_steps opt_base_learning_rate opt_epsilon "
        "opt_lamb_beta_1 opt_lamb_beta_2 opt_lamb_weight_decay_rate "
        "opt_learning_rate_warmup_steps start_warmup_step opt_lamb_epsilon",
        150_000,
    ),
    "cosmoflow": Benchmark(
        "minimize",
        "mean absolute error",
        "CosmoFlow 3-D convnet on N-body simulations (MLPerf HPC)",
        "an epoch",
        _HPC,
        "accelerators_per_node global_batch_size dropout opt_base_learning_rate "
        "opt_learning_rate_warmup_factor opt_learning_rate_decay_factor opt_name "
        "opt_weight_decay",
        1,
        evaluation="eval_error",
    ),
    "deepcam": Benchmark(
        "maximize",
        "IoU",
        "DeepCAM segmentation of climate images (MLPerf HPC)",
        "an epoch",
        _HPC,
        "accelerators_per_node global_batch_size batchnorm_group_size opt_lr scheduler_type "
        "scheduler_decay_rate scheduler_lr_warmup_steps learning_rate instance_id data_format "
        "shuffle_mode data_oversampling_factor stage_mode stage_batch_size precision_mode "
        "batchnorm_group_stride opt_step scheduler_t_max scheduler_eta_min",
        1,
    ),
    "dlrm": Benchmark(
        "maximize",
        "AUC",
        "DLRM on Criteo 1TB",
        "5 % of the epoch",
        _training("1.1", "2.1"),
        "global_batch_size opt_base_learning_rate sgd_opt_base_learning_rate "
        "opt_learning_rate_warmup_steps opt_learning_rate_warmup_factor lr_decay_start_steps "
        "sgd_opt_learning_rate_decay_steps gradient_accumulation_steps",
        0.05,
        origin=1.0,
    ),
    "dlrm_dcnv2": Benchmark(
        "maximize",
        "AUC",
        "DLRM-DCNv2 on Criteo multi-hot",
        "5 % of the epoch",
        _training("3.1", "4.0", "5.0", "5.1"),
        "global_batch_size opt_base_learning_rate opt_adagrad_initial_accumulator_value",
        0.05,
    ),
    "gnn": Benchmark(
        "maximize",
        "accuracy",
        "R-GAT graph network on IGBH-Full",
        "5 % of an epoch",
        _training("4.0"),
        "global_batch_size opt_base_learning_rate",
        0.05,
    ),
    "gpt3": Benchmark(
        "minimize",
        "log perplexity",
        "GPT-3 175B continued pre-training on C4",
        "50M tokens",
        _training("3.1", "4.0"),
        "global_batch_size opt_base_learning_rate opt_end_learning_rate "
        "opt_learning_rate_decay_steps opt_learning_rate_warmup_steps "
        "gradient_accumulation_steps",
        50_331_648,
    ),
    "llama31_8b": Benchmark(
        "minimize",
        "log perplexity",
        "Llama 3.1 8B pre-training on C4",
        "12,288 sequences",
        _training("5.1"),
        "global_batch_size gradient_accumulation_steps opt_base_learning_rate "
        "opt_end_learning_rate opt_learning_rate_warmup_steps opt_learning_rate_decay_steps "
        "target_accuracy",
        12_288,
        position="samples_count",
    ),
    "maskrcnn": Benchmark(
        "maximize",
        "box mAP",
        "Mask R-CNN on COCO",
        "an epoch",
        _training("1.1", "2.1", "3.1"),
        "d_batch_size global_batch_size num_image_candidates opt_base_learning_rate "
        "opt_learning_rate_warmup_steps opt_learning_rate_warmup_factor",
        1,
    ),
    "minigo": Benchmark(
        "maximize",
        "win rate",
        "MiniGo reinforcement learning",
        "an iteration",
        _training("1.1", "2.1"),
        "actual_selfplay_games_per_generation",
        1,
    ),
    "oc20": Benchmark(
        "minimize",
        "force MAE",
        "DimeNet++ graph network on Open Catalyst 2020 (MLPerf HPC)",
        "an epoch",
        _HPC,
        "accelerators_per_node global_batch_size opt_base_learning_rate "
        "opt_learning_rate_warmup_steps",
        1,
        evaluation="eval_error",
    ),
    "resnet": Benchmark(
        "maximize",
        "top-1 accuracy",
        "ResNet-50 on ImageNet",
        "4 epochs",
        _training("1.1", "2.1", "3.1", "4.0"),
        "model_bn_span sgd_opt_end_learning_rate d_batch_size s_optimizer s_network s_process "
        "global_batch_size gradient_accumulation_steps lars_epsilon lars_opt_weight_decay "
        "lars_opt_momentum lars_opt_base_learning_rate lars_opt_learning_rate_decay_steps",
        4,
        nearest=0.0,
    ),
    "rgat": Benchmark(
        "maximize",
        "accuracy",
        "R-GAT graph network on IGBH-Full",
        "5 % of an epoch",
        _training("5.0", "5.1"),
        "global_batch_size opt_base_learning_rate",
        0.05,
    ),
    "rnnt": Benchmark(
        "minimize",
        "word error rate",
        "RNN-T speech recognition on LibriSpeech",
        "an epoch",
        _training("1.1", "2.1", "3.1"),
        "gradient_accumulation_steps global_batch_size data_train_num_buckets "
        "opt_base_learning_rate opt_lamb_beta_1 opt_lamb_beta_2",
        1,
    ),
    "ssd": Benchmark(
        "maximize",
        "mAP",
        "SSD-300 ResNet-34 on COCO (v1.1 only)",
        "5 epochs",
        _training("1.1"),
        "opt_learning_rate_warmup_steps opt_base_learning_rate opt_weight_decay model_bn_span "
        "global_batch_size d_batch_size",
        5,
    ),
    "unet3d": Benchmark(
        "maximize",
        "mean dice",
        "U-Net3D on KiTS19, from epoch 1000 on",
        "20 epochs",
        _training("1.1", "2.1", "3.1", "4.0"),
        "opt_base_learning_rate global_batch_size current_lr",
        20,
        origin=980,
        samples_per_epoch=168,
    ),
}
