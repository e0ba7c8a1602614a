from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import pytest

from optuna_perfpred.replay import load_curves


FOLDER = Path(__file__).parents[2] / "benchmarks" / "stopping_rule"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    return folder


@pytest.fixture
def main(module, monkeypatch):
    script = module("convert_curves")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["convert_curves.py", *map(str, arguments)])
        script.main()

    return run


@pytest.fixture
def convert(main, clone, tmp_path):
    def run(family):
        output = tmp_path / "sets"
        main(family, "--clone", clone, "--output", output)
        return {folder.name: load_curves(folder) for folder in sorted(output.iterdir())}

    return run


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def curves(study):
    return [list(trial.intermediate_values.values()) for trial in study.trials]


def params(study, name):
    return [trial.params.get(name) for trial in study.trials]


def test_the_list_names_repository_commit_licence_and_sets(main, module, capsys):
    main("--list")
    output = capsys.readouterr().out
    for family in module("_converters").FAMILIES.values():
        for repository, commit in family.repositories.items():
            assert f"https://github.com/{repository} at {commit}" in output
        assert family.licence in output
        assert all(name in output for name in family.sets)


def test_a_folder_that_is_no_clone_of_the_family_is_an_error_of_one_line(main, module, clone):
    for name in module("_converters").FAMILIES:
        with pytest.raises(SystemExit) as error:
            main(name, "--clone", clone, "--output", clone / "sets")
        assert str(clone) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(SystemExit, match="There is no folder"):
        main("deepobs", "--clone", clone / "none", "--output", clone / "sets")


def test_a_file_without_its_column_is_an_error(main, clone):
    write(clone / "benchmark" / "flan.csv", "config name,0,200\ngpt2,1.0,0.5\n")
    with pytest.raises(SystemExit, match="has no column 'size'"):
        main("finetune_llm", "--clone", clone, "--output", clone / "sets")


def test_what_never_varies_and_what_was_never_reported_is_left_out(module, tmp_path):
    base = module("_curve_set")
    runs = [
        base.Run({"lr": 0.1, "batch": 8, "momentum": None}, {1: 0.5, 2: math.nan}),
        base.Run({"lr": 0.2, "batch": 8, "momentum": 0.9}, {1: 0.25, 3: 0.123456789}),
    ]
    family = base.Family("f", "", {"o/n": "abc"}, "MIT", ("a",), lambda _: iter(()))
    base.write_set(base.CurveSet("a", "minimize", "loss", "", runs, {"k": 1}), family, tmp_path)
    configs, recorded = ((tmp_path / "a" / f"{n}.csv").read_text() for n in ("configs", "curves"))
    assert configs.splitlines() == ["curve_id,lr,momentum", "0,0.1,", "1,0.2,0.9"]
    assert recorded.splitlines() == ["curve_id,1,2,3", "0,0.5,,", "1,0.25,,0.123457"]
    meta = json.loads((tmp_path / "a" / "meta.json").read_text())
    assert meta["origin"] == "o/n abc"
    assert meta["k"] == 1


def test_runs_are_cut_to_equal_ends(module):
    base = module("_curve_set")
    runs = [base.Run({}, dict.fromkeys(range(1, n + 1), 0.0)) for n in (10, 9, 7, 0)]
    assert [max(run.curve) for run in base.with_equal_ends(runs)] == [9, 9]


def test_accelerating_nas(convert, clone):
    rates = ",".join(f"acc_{i}" for i in range(11))
    values = ",".join(str(i / 10) for i in range(11))
    for name, head, row in (
        ("deep_resnets_tinyimagenet", "num_blocks,num_filters,filter_size,lr,ss", "1,4,3,0.1,5"),
        ("alexnet_imagenet", "lr,ss", "0.1,5"),
        ("metaqnn_cifar10", "net,num_params,depth,lr", '"[C(1), SM(10)]",10,2,0.1'),
    ):
        write(clone / "data" / f"{name}.csv", f"x,{head},{rates}\n0,{row},{values}\n")
    table = "n_layer,n_inputs,base_lr,ss,ep_0,ep_1\n2,10,0.1,5,300,200\n3,10,0.1,5,250,150\n"
    write(clone / "data" / "lstm_ptb.csv", table)
    sets = convert("accelerating_nas")
    # The accuracy before training is left out, and long curves are thinned.
    assert sets["deep_resnets_tinyimagenet"].trials[0].intermediate_values == {5: 0.5, 10: 1.0}
    assert sets["alexnet_imagenet"].trials[0].intermediate_values == {10: 1.0}
    assert sets["lstm_ptb"].trials[1].intermediate_values == {1: 250.0, 2: 150.0}
    assert params(sets["lstm_ptb"], "n_layer") == [2.0, 3.0]


def test_deepobs(convert, clone):
    runs = ("Adam/num_epochs__2__beta1__9.e-01__lr__1.e-01", "SGD/num_epochs__2__lr__1")
    for problem in ("cifar10_3c3d", "fmnist_2c2d"):
        for run in runs:
            file = clone / problem / run / "random_seed__42__2019.json"
            write(file, {"test_accuracies": [0.1, 0.2, 0.3]})
    study = convert("deepobs")["deepobs_cifar10_3c3d"]
    assert curves(study) == [[0.2, 0.3], [0.2, 0.3]]
    assert params(study, "beta1") == [0.9, None]
    assert params(study, "lr") == [0.1, 1.0]


def test_naap440(convert, clone, module):
    features = module("_family_naap440")._FEATURES
    epochs = [f"e{i}Accuracy" for i in range(1, 91)]
    rows = [[*map(str, range(k, k + 8)), *["0.5"] * 90] for k in (1, 2)]
    lines = [",".join(row) for row in ([*features, *epochs], *rows)]
    write(clone / "naap440v2.csv", "\n".join(lines))
    study = convert("naap440")["naap440"]
    assert [len(curve) for curve in curves(study)] == [90, 90]
    assert params(study, "NumParams") == [1.0, 2.0]


def test_stepback(convert, clone, module):
    family = module("_family_stepback")
    for name, (_, endings) in family._OUTPUTS.items():
        for ending in endings:
            history = [{"epoch": 0, "val_score": 0.5}, {"epoch": 1, "val_score": 0.75}]
            configs = [{"opt": {"name": name, "lr": 0.1}, "run_id": 0} for name in "ab"]
            runs = [{"config": config, "history": history} for config in configs]
            write(clone / "output" / f"{name}{ending}.json", runs)
    table = "id,epoch,val_score,name,lr,beta\na,0,0.5,momo,0.1,0.9\na,1,0.6,momo,0.1,0.9\n"
    for name in family._RECORDS:
        write(clone / "stepback/records" / f"{name}.csv", f"{table}b,0,0.4,sgd,1,none\n")
    sets = convert("stepback")
    assert sorted(sets) == sorted(family.FAMILY.sets)
    assert len(sets["stepback_cifar100_resnet110"].trials) == 6
    assert curves(sets["stepback_cifar10_vgg16"]) == [[0.5, 0.75]] * 2
    assert curves(sets["stepback_mnist_mlp"]) == [[0.5, 0.6], [0.4]]
    assert params(sets["stepback_mnist_mlp"], "beta") == [0.9, None]


def test_bert_glue(convert, clone, module):
    epochs = [{"epoch": i, "aggregated_metric": {"MCC": i / 10}} for i in (1, 2)]
    for task in module("_family_bert_glue")._TASKS:
        for seed in (1, 2):
            write(clone / f"experiments/nlp/logs/{task}/AdamTuned-seed{seed}.json", epochs)
    tuning = clone / "experiments/hyperparameters_tuning/logs/mrpc"
    write(tuning / "Ano_lr2e-05_b10.92_b20.95-seed1.json", epochs)
    write(tuning / "Ano_lr1e-05_b10.92_b20.95-seed1.json", epochs)
    write(tuning / "Anolog_lr2e-05_b10_b20.99-seed1.json", [{"epoch": 1, "Acc": 0.5}])
    sets = convert("bert_glue")
    assert len(sets) == 7
    assert curves(sets["ano_bert_cola"]) == [[0.1, 0.2]] * 2
    assert params(sets["ano_tuning_bert_mrpc"], "lr") == [1e-05, 2e-05]


def test_finetune_llm(convert, clone, tmp_path):
    for task in ("flan", "gigaword", "wmt19"):
        table = "config name,0,200,size,family\ngpt2,4.5,3.5,124,GPT2\nt5,4.0,3.0,60,T5\n"
        write(clone / "benchmark" / f"{task}.csv", table)
    assert curves(convert("finetune_llm")["finetune_llm_flan"]) == [[4.5, 3.5], [4.0, 3.0]]
    meta = json.loads((tmp_path / "sets" / "finetune_llm_flan" / "meta.json").read_text())
    assert meta["anchors"] == [0, 200]


def test_mpl_takes_the_losses_not_the_learning_rates(convert, clone):
    for name in ("constant_24000", "wsdcon_9"):
        table = "step,lr,loss\n2176,0.0003,4.0\n2432,0.0003,3.0\n2816,0.0003,2.0\n"
        write(clone / "loss_curve_repo" / "csv_25" / f"{name}.csv", table)
    study = convert("mpl")["mpl_llm"]
    assert study.trials[0].intermediate_values[2304] == 3.5
    assert study.trials[0].intermediate_values[2816] == 2.0
    assert params(study, "planned_steps") == [24000.0, 16000.0]


def test_gemstone_keeps_the_steps_that_all_runs_have(convert, clone):
    run = {"width": 1, "depth": 2, "params_active_precise": 3, "final_loss": 4.0}
    for name, last in (("hot", 1431), ("lr_ablation_hot", 1430)):
        rows = [{"run_name": name, "step": step, **run} for step in (477, 954, last)]
        file = clone / "wandb_dfs" / f"wandb_df_for_fitting_{name}_477.jsonl"
        write(file, "\n".join(map(json.dumps, rows)))
    assert curves(convert("gemstone")["gemstone_llm"]) == [[4.0, 4.0]] * 2


def test_dopamine_tells_seeds_apart_by_their_order(convert, clone, module, monkeypatch):
    monkeypatch.setattr(module("_family_dopamine"), "_GAMES", "pong")
    for ending in ("", "_CNN", "_Impala"):
        rows = [
            {"Iteration": i, "Value": 10.0 * seed + i, "Agent": "DQN"}
            for i in range(10)
            for seed in range(2)
        ][:-1]
        write(clone / "baselines" / "atari" / "data" / f"pong{ending}.json", rows)
    study = convert("dopamine")["dopamine_pong"]
    # One run lacks its last iteration.
    assert [len(curve) for curve in curves(study)] == [9] * 6
    assert curves(study)[1][:2] == [10.0, 11.0]
    assert params(study, "seed") == [0.0, 1.0] * 3


def test_lcdb_keeps_the_learners_that_reach_the_end(convert, clone, module, monkeypatch):
    family = module("_family_lcdb")
    monkeypatch.setattr(family, "_DATA_SETS", "61")
    monkeypatch.setattr(family, "_N_LEARNERS", 2)
    values = [[[0.1, 0.3, 0.4], [0.1, 0.2, 0.4], [None] * 3], [[0.0] * 3] * 3]
    short = [[[0.1, 0.3, 0.4], [None] * 3, [None] * 3], [[0.0] * 3] * 3]
    data = clone / "docs" / "data"
    write(data / "er" / "61.json", [values, short, values])
    write(data / "meta.json", {"learners": ["KNN", "QDA", "LDA"], "anchors": [16, 18, 20]})
    summary = "OpenML_ID,Name,#Features,#Samples,#Classes\n61,Iris (all),4,150,3\n"
    write(clone / "metadata" / "datasets_FULL_summary.csv", summary)
    study = convert("lcdb")["lcdb_61_iris_all"]
    assert curves(study) == [[0.3, 0.2]] * 2


def test_algoperf(convert, clone, module, monkeypatch):
    monkeypatch.setattr(module("_family_algoperf"), "_WORKLOADS", ("ogbg_jax",))
    logs = clone / "previous_leaderboards" / "algoperf_v05" / "logs" / "external_tuning"
    for study, last in enumerate((40, 80, 20)):
        # The second run evaluates twice as often, the third one stops early.
        steps = [last * k // 8 for k in range(1, 9)]
        rows = [f"{step},{step / 100}" for step in steps]
        folder = logs / "adam" / f"study_{study}" / "ogbg_jax" / "trial_1"
        head = "global_step,validation/mean_average_precision"
        write(folder / "eval_measurements.csv", "\n".join([head, *rows]))
        write(folder / "hparams.json", {"beta": study})
    study = convert("algoperf")["algoperf_ogbg_jax"]
    assert params(study, "hp_beta") == [0.0, 1.0]
    assert [len(curve) for curve in curves(study)] == [40, 40]
    # At steps without an evaluation the curve is linear between its neighbours.
    assert curves(study)[0][4:10] == pytest.approx([0.05, 0.06, 0.07, 0.08, 0.09, 0.1])


def mllog(key, value, **metadata):
    entry = {"event_type": "POINT_IN_TIME", "key": key, "value": value, "metadata": metadata}
    return f"0: :::MLLOG {json.dumps(entry)}"


def test_mlperf(convert, clone, module, monkeypatch):
    family = module("_family_mlperf")
    chosen = {name: family.BENCHMARKS[name] for name in ("maskrcnn", "oc20")}
    monkeypatch.setattr(family, "BENCHMARKS", chosen)
    for name in {name for benchmark in chosen.values() for name in benchmark.rounds}:
        (clone / name).mkdir()
    results = clone / "training_results_v1.1" / "Org" / "results" / "system" / "maskrcnn"
    for number, n_epochs in enumerate((6, 8, 5)):
        lines = ["noise", mllog("global_batch_size", 8 * number), ":::MLLOG {broken"]
        lines += [
            mllog("eval_accuracy", {"BBOX": i / 10 + number, "SEGM": 0.0}, epoch_num=i)
            for i in range(1, n_epochs + 1)
        ]
        lines += [mllog("d_batch_size", number)]
        # The same run, submitted twice, counts once.
        for file in (f"result_{number}.txt", f"result_{number + 10}.txt"):
            write(results / file, "\n".join(lines))
    weak = clone / "hpc_results_v2.0" / "Org" / "results" / "system" / "weak" / "oc20"
    for number, file in enumerate(("result_0.txt", "pruned_results/result_1.txt")):
        rows = [mllog("eval_error", i + number, epoch_num=i) for i in range(1, 8)]
        write(weak / file, "\n".join(rows))
    sets = convert("mlperf")
    assert curves(sets["mlperf_maskrcnn"]) == [
        pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        pytest.approx([1.1, 1.2, 1.3, 1.4, 1.5, 1.6]),
    ]
    assert params(sets["mlperf_maskrcnn"], "global_batch_size") == [0.0, 8.0]
    # What is logged after the first evaluation may be a result.
    assert params(sets["mlperf_maskrcnn"], "d_batch_size") == [None, None]
    assert len(sets["mlperf_oc20"].trials) == 2
