"""What several workers say of themselves, merged into one answer for the node. Pure.

Counters and histograms are summed, and gauges too, except where a sum means nothing (`EACH`): those
samples carry the label `worker`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client.core import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Name, text, type, and the samples: name, labels, value.
Family: TypeAlias = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
Labels: TypeAlias = tuple[tuple[str, str], ...]
Facts: TypeAlias = dict[str, object]

# Whether something is there, limits, ages, what all workers read from the same place, and one process' own.
EACH: Final = re.compile(
    r"process_(?!cpu).*"
    r"|greenroom_(.*_up|.*_limit|.*_oldest_seconds|decisions_waiting|redis_refused|redis_trouble"
    r"|child_restarting|stats_news_polling|build_info|worker_answers)"
)
# Types of Prometheus whose samples only grow.
GROWING: Final = frozenset({"counter", "histogram"})
SUMMED_FACTS: Final = ("active_rooms", "connected_players")


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Metrics as values that JSON can carry."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in metrics
    ]


def summed(several: Iterable[Sequence[Family]]) -> list[Family]:
    """Counters and histograms of several processes, added up: what is left of those that have ended."""
    kinds: dict[str, tuple[str, str]] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for families in several:
        for name, text, kind, samples in families:
            if kind not in GROWING:
                continue
            kinds[name] = text, kind
            kept = values.setdefault(name, {})
            for sample, labels, value in samples:
                key = sample, tuple(sorted(labels.items()))
                kept[key] = kept.get(key, 0.0) + value
    return [
        (name, *kinds[name], [(sample, dict(labels), value) for (sample, labels), value in kept.items()])
        for name, kept in values.items()
    ]


def merged_metrics(answers: Sequence[tuple[int, Sequence[Family]]], count: int) -> Iterator[Metric]:
    """The metrics of the node.

    Args:
        answers: Of each worker that gave one, with its number; 0 for those that have ended.
        count: How many workers there are.
    """
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for number, families in answers:
        for name, text, kind, samples in families:
            merged.setdefault(name, Metric(name, text, kind))
            is_each = EACH.fullmatch(name) is not None
            kept = values.setdefault(name, {})
            for sample, labels, value in samples:
                all_labels = {**labels, "worker": str(number)} if is_each else labels
                key = sample, tuple(sorted(all_labels.items()))
                # A worker that drains and its successor have the same number.
                kept[key] = value if is_each else kept.get(key, 0.0) + value
    for name, metric in merged.items():
        for (sample, pairs), value in values[name].items():
            metric.add_sample(sample, dict(pairs), value)
        yield metric
    yield _answering({number for number, _ in answers}, count)


def _answering(numbers: set[int], count: int) -> Metric:
    metric = Metric("greenroom_worker_answers", "Whether a worker has answered this scrape.", "gauge")
    for number in range(1, count + 1):
        metric.add_sample(metric.name, {"worker": str(number)}, float(number in numbers))
    return metric


def merged_health(answers: Sequence[tuple[int, Facts]], count: int, own: Facts) -> Facts:
    """The health of the node: degraded if a worker is, or does not answer.

    Args:
        answers: Of each worker that gave one, with its number.
        count: How many workers there are.
        own: Of the worker that was asked.
    """
    facts: Facts = {}
    for _, answer in answers:
        facts |= answer
    facts |= own
    for name in SUMMED_FACTS:
        facts[name] = sum(_number(answer.get(name)) for _, answer in answers)
    missing = sorted(set(range(1, count + 1)) - {number for number, _ in answers})
    away = sorted({name for _, answer in answers for name in _names(answer.get("away"))})
    away += [f"worker-{number}" for number in missing]
    facts["status"] = "degraded" if away else "ok"
    facts["workers"] = {"count": count, "answering": count - len(missing)}
    facts.pop("away", None)
    return {**facts, "away": away} if away else facts


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
