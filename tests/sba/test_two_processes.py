"""Every method under DistributedDataParallel: two processes take the steps that one takes with the whole batch."""

from typing import Any

import pytest
import torch
from processes import two_processes
from processes.once import once
from processes.two_processes import CASES, METHODS, NORMS, PAIRING, network
from torch.multiprocessing.spawn import spawn

from sba.processes import ALONE

pytestmark = pytest.mark.slow

Found = tuple[dict[Any, Any], dict[Any, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return the results of each of the two processes."""
    folder = once(tmp_path_factory, "ranks", lambda empty: spawn(two_processes.work, (str(empty),), nprocs=2))
    first, second = (torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def test_every_method_takes_the_steps_of_one_process_with_the_whole_batch(ranks: Found) -> None:
    for name in CASES:
        alone, pair = two_processes.take_steps(name, network()), [rank[name] for rank in ranks]
        assert [rank["layers"] for rank in pair] == [alone["layers"]] * 2, name
        equal = [torch.equal(rank["draws"], alone["draws"]) for rank in pair]
        assert all(equal), f"{name}: draws are not those of the whole batch (baselines/draws.py has draws that are)"
        assert all(rank["clean"] for rank in pair), f"{name}: hooks or attributes are left on the modules"
        losses = (pair[0]["losses"] + pair[1]["losses"]) / 2
        torch.testing.assert_close(losses, alone["losses"], atol=1e-5, rtol=0, msg=name)
        logits = torch.cat([rank["logits"] for rank in pair], dim=1)
        torch.testing.assert_close(logits, alone["logits"], atol=1e-5, rtol=0, msg=name)
        for key, value in alone["weights"].items():
            assert torch.equal(pair[0]["weights"][key], pair[1]["weights"][key]), f"{name}: the ranks differ in {key}"
            torch.testing.assert_close(pair[0]["weights"][key], value, atol=1e-5, rtol=1e-5, msg=f"{name}: {key}")


def test_the_cases_augment_behind_all_layers_and_the_ranks_hold_other_rows(ranks: Found) -> None:
    assert set(ranks[0]["sba"]["layers"]) == {"input", "2", "5", "None"}
    assert set(ranks[0]["sba: every second"]["layers"]) == {"2", "5", "None"}
    assert all(not torch.equal(ranks[0][name]["losses"], ranks[1][name]["losses"]) for name in CASES)


@pytest.mark.parametrize("last", [False, True])
def test_gathered_rows_pass_the_exact_gradient(ranks: Found, last: bool) -> None:
    loss, gradient = two_processes.gathered(ALONE, None, last)
    of_ranks = [rank["gathered", last] for rank in ranks]
    torch.testing.assert_close((of_ranks[0][0] + of_ranks[1][0]) / 2, loss, atol=1e-12, rtol=0)
    # DistributedDataParallel would take the mean over the two processes.
    torch.testing.assert_close(torch.cat([part[1] for part in of_ranks]) / 2, gradient, atol=1e-12, rtol=0)


def test_generators_and_batches_that_differ_are_refused_in_every_process(ranks: Found) -> None:
    draws_nothing = {"erm", "label_smoothing"}
    for name in METHODS.keys() - draws_nothing:
        for rank in ranks:
            assert "seed it alike in every process" in rank["refusals"][f"{name}: generator"]
            assert rank["refusals"][f"{name}: images"].startswith("inputs: the processes hold 4, 5 rows;")
    refused = {name.partition(":")[0] for rank in ranks for name in rank["refusals"]}
    assert refused == METHODS.keys() - draws_nothing


def test_agreement_is_checked_at_the_first_step_alone(ranks: Found) -> None:
    assert [rank["checks", name] for rank in ranks for name in ("sba", "mixup")] == [1] * 4


@pytest.mark.parametrize("where", ["unwrapped", "alone in its group"])
@pytest.mark.parametrize("name", PAIRING)
def test_a_network_that_shares_no_batch_takes_the_steps_of_one_process(ranks: Found, name: str, where: str) -> None:
    alone = two_processes.take_steps(name, network(norm=False), steps=2)
    for rank in ranks:
        torch.testing.assert_close(rank[where, name]["losses"], alone["losses"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["FSDP1", "FSDP2"])
def test_a_sharded_network_takes_the_steps_of_one_process_with_the_whole_batch(ranks: Found, kind: str) -> None:
    alone, pair = two_processes.sharded_steps(two_processes.blocks()), [rank[kind] for rank in ranks]
    assert [rank["layers"] for rank in pair] == [alone["layers"]] * 2
    assert {"input", "0", "1.0", "1"} <= set(alone["layers"])
    assert all(rank["clean"] for rank in pair), "hooks are left on the modules"
    torch.testing.assert_close((pair[0]["losses"] + pair[1]["losses"]) / 2, alone["losses"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NORMS)
def test_synchronised_batchnorm_is_batchnorm_of_the_whole_batch(ranks: Found, name: str) -> None:
    whole, pair = two_processes.normalised(name, NORMS[name][0]), [rank["norm", name] for rank in ranks]
    evaluated_apart = name == "without running statistics"  # as with torch's, which does not communicate then
    for part in ("outputs", "of_inputs"):
        found = [torch.cat(rows) for rows in zip(*(rank[part] for rank in pair), strict=True)]
        compared = 2 if evaluated_apart else 3
        torch.testing.assert_close(found[:compared], whole[part][:compared], atol=1e-10, rtol=1e-10)
    for rank in pair:
        torch.testing.assert_close(rank["kept"], whole["kept"], atol=1e-10, rtol=1e-10)
    if not evaluated_apart:
        sums = [first + second for first, second in zip(*(rank["of_weights"] for rank in pair), strict=True)]
        torch.testing.assert_close(sums, whole["of_weights"], atol=1e-10, rtol=1e-10)
