"""jina-local and its peers in one process, in turns: a slow minute is slow for all of them.

Random weights of the published size. Every contender has to agree with the vectors of the first,
transformers in float32, before it is timed. `throughput` runs each in a process of its own, which
memory has to be measured in, and on which the machine's mood has more influence.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders import INSTRUCTION, contenders_for
from benchmarks.machine import multiplies_bfloat16
from benchmarks.throughput import LEAST_COSINE, Clock, native_checkpoint, plan_for
from benchmarks.throughput_texts import make_workloads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.contenders import Contender, Embed
    from benchmarks.throughput import Plan
    from benchmarks.throughput_texts import Workload

__all__ = ["measure"]

_OURS = "jina-local, float32"
_QUERY = "one query, ms"
_ROUNDS = 3
_QUERIES_IN_A_ROW = 8

Rounds = dict[str, dict[str, list[float]]]
"""For each contender and workload, a number of every round."""


def measure(plan: Plan | None = None) -> dict[str, object]:
    """Rates at the median, and how many times as fast jina-local was in each round."""
    from tokenizers import Tokenizer

    plan = plan or plan_for("cpu")
    with native_checkpoint(plan) as folder:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        engines, skipped = _loaded(folder, plan)
    workloads = make_workloads(
        lambda text: len(tokenizer.encode(INSTRUCTION + text).ids),
        texts=plan.texts,
        longest=plan.longest,
    )
    cosines = _cosines(engines, workloads[1])
    rates: Rounds = {name: {} for name in engines}
    shares: Rounds = {name: {} for name in engines}
    for _ in range(_ROUNDS):
        for workload in workloads:
            for name, embed in engines.items():
                if workload is workloads[-1] and name != _OURS:
                    continue  # the longest text would take the others minutes
                clock = Clock(plan, _named(name)["dtype"])
                seconds, share = clock.time(lambda: embed(workload.texts), workload.tokens, 1)  # noqa: B023
                rates[name].setdefault(workload.name, []).append(workload.tokens / seconds)
                shares[name].setdefault(workload.name, []).append(share)
        for name, embed in engines.items():
            of_query = _query_ms(embed, workloads[0].texts[0])
            rates[name].setdefault(_QUERY, []).append(of_query)
    return {
        "tokens": {one.name: one.tokens for one in workloads},
        "tokens_of_one_query": len(tokenizer.encode(INSTRUCTION + workloads[0].texts[0])),
        "contenders": [
            {**_named(name), "worst_cosine": cosines[name], **_medians(rates[name], shares[name])}
            for name in engines
        ],
        "times_as_fast": {name: _ratios(rates, name) for name in engines if name != _OURS},
        "skipped": skipped,
    }


def _loaded(folder: Path, plan: Plan) -> tuple[dict[str, Embed], dict[str, str]]:
    """All contenders that can run here, and why the others cannot."""
    reasons = {one.full_name: _why_not(one, plan) for one in contenders_for(plan.device)}
    engines = {
        one.full_name: one.load(folder, plan.device)
        for one in contenders_for(plan.device)
        if not reasons[one.full_name]
    }
    return engines, {name: reason for name, reason in reasons.items() if reason}


def _why_not(contender: Contender, plan: Plan) -> str:
    if plan.only and contender.full_name not in plan.only:
        return "not asked for"
    if missing := contender.missing():
        return f"not installed: {', '.join(missing)}"
    if contender.dtype == "bfloat16" and not multiplies_bfloat16(plan.device):
        return "this processor has no bfloat16 instructions"
    return ""


def _cosines(engines: Mapping[str, Embed], workload: Workload) -> dict[str, float]:
    """The worst of each contender to the first; everybody is warm afterwards."""
    texts = workload.texts[:8]
    vectors = {name: embed(texts) for name, embed in engines.items()}
    reference = next(iter(vectors.values()))
    cosines = {name: float((one * reference).sum(axis=1).min()) for name, one in vectors.items()}
    wrong = {
        name: one for name, one in cosines.items() if one < LEAST_COSINE[_named(name)["dtype"]]
    }
    if wrong:
        message = f"these give other vectors, and are not worth timing: {wrong}"
        raise SystemExit(message)
    return {name: round(cosine, 7) for name, cosine in cosines.items()}


def _query_ms(embed: Embed, query: str) -> float:
    """The median of a few in a row, once the others' threads are asleep."""
    embed([query])
    taken = []
    for _ in range(_QUERIES_IN_A_ROW):
        start = time.perf_counter()
        embed([query])
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


def _medians(
    rates: Mapping[str, Sequence[float]], shares: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        workload: {
            "tokens_per_second": round(float(np.median(rates[workload]))),
            "share_of_limit": round(float(np.median(shares[workload])), 3),
        }
        for workload in shares
    }
    return {**found, "one_query_ms": {"p50": round(float(np.median(rates[_QUERY])), 1)}}


def _named(full_name: str) -> dict[str, str]:
    name, _, dtype = full_name.rpartition(", ")
    return {"name": name, "dtype": dtype}


def _ratios(rates: Rounds, peer: str) -> dict[str, dict[str, float]]:
    """Our rate over a peer's in every round, or its milliseconds over ours."""
    found = {}
    for workload, theirs in rates[peer].items():
        ratio = np.array(rates[_OURS][workload]) / np.array(theirs)
        ratio = 1 / ratio if workload == _QUERY else ratio
        found[workload] = {
            "median": round(float(np.median(ratio)), 2),
            "least": round(float(ratio.min()), 2),
            "most": round(float(ratio.max()), 2),
        }
    return found
