"""Counters as Prometheus text, read from the parts at the moment of the scrape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from actors.core import Histogram
from web.handlers.http import Answer
from web.handlers.merging import families_of, merged_metrics, summed
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import UNAUTHORIZED, bearer, matches_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric
    from pydantic import SecretStr

    from web.handlers.http import Request
    from web.handlers.merging import Family
    from web.handlers.siblings import Siblings

NAMESPACE: Final = "greenroom"
# What siblings are asked.
METRICS: Final = "metrics"


class Sample(NamedTuple):
    """The numbers of one metric, as of now: one, or one for each combination of label values.

    Attributes:
        name: Without the namespace; that of a counter without `_total`.
        help: One sentence.
        values: By the values of the labels; `{(): …}` without labels.
        labels: Names of the labels.
        is_counter: Whether it only ever grows.
    """

    name: str
    help: str
    values: Mapping[tuple[str, ...], float | Histogram]
    labels: tuple[str, ...] = ()
    is_counter: bool = False


def gauge(name: str, text: str, value: float) -> Sample:
    """Something that goes up and down."""
    return Sample(name, text, {(): value})


def gauges(name: str, text: str, label: str, values: Mapping[str, float], known: Iterable[str]) -> Sample:
    """Several that go up and down, told apart by a label.

    Args:
        name: See `Sample`.
        text: The help.
        label: Name of the label.
        values: By the label's value.
        known: Values of the label that are served as 0 from the start: an alarm on a series that appears
            with its first event misses that event.
    """
    return Sample(name, text, _labelled(values, known), (label,))


def counter(name: str, text: str, value: float) -> Sample:
    """Something that only grows."""
    return Sample(name, text, {(): value}, is_counter=True)


def counters(name: str, text: str, label: str, values: Mapping[str, float], known: Iterable[str]) -> Sample:
    """Several that only grow, told apart by a label; see `gauges`."""
    return Sample(name, text, _labelled(values, known), (label,), is_counter=True)


def histogram(name: str, text: str, durations: Histogram) -> Sample:
    """Durations in seconds, by bucket."""
    return Sample(name, text, {(): durations})


def histograms(
    name: str, text: str, labels: tuple[str, ...], durations: Mapping[tuple[str, ...], Histogram]
) -> Sample:
    """Several histograms of durations, told apart by labels (never by ids: each value is 19 series)."""
    return Sample(name, text, durations, labels)


def _labelled(values: Mapping[str, float], known: Iterable[str]) -> dict[tuple[str, ...], float]:
    return {(value,): values.get(value, 0) for value in (*known, *values)}


class Samples(Collector):
    """Asks every source at a scrape."""

    def __init__(self) -> None:
        self._sources: list[Callable[[], Iterable[Sample]]] = []

    def add(self, source: Callable[[], Iterable[Sample]]) -> None:
        """Ask `source` too; its samples have names of their own."""
        self._sources.append(source)

    def collect(self) -> Iterator[Metric]:
        """All samples in Prometheus' form."""
        for source in self._sources:
            yield from map(_metric, source())


def _metric(sample: Sample) -> Metric:
    name = f"{NAMESPACE}_{sample.name}"
    is_histogram = any(isinstance(value, Histogram) for value in sample.values.values())
    if is_histogram:
        metric = HistogramMetricFamily(name, sample.help, labels=sample.labels)
        for values, durations in sample.values.items():
            if isinstance(durations, Histogram):
                buckets = [
                    ("+Inf" if math.isinf(bound) else str(bound), n) for bound, n in durations.cumulative()
                ]
                metric.add_metric(values, buckets, durations.sum_s)
        return metric
    family = CounterMetricFamily if sample.is_counter else GaugeMetricFamily
    numbers = family(name, sample.help, labels=sample.labels)
    for values, number in sample.values.items():
        if not isinstance(number, Histogram):
            numbers.add_metric(values, number)
    return numbers


def metrics_left(before: object, last: object) -> object:
    """The counters and histograms of processes that have ended: of those before, and of one more."""
    return summed(cast("list[Family]", families) for families in (before, last) if families is not None)


class Merged(CollectorRegistry):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._metrics


class MetricsHandlers:
    """`/metrics`.

    Args:
        samples: What is served.
        token: Closes it to all who do not bear this token.
        siblings: The workers of this node; None where this process is alone.
    """

    def __init__(
        self, samples: Samples, *, token: SecretStr | None, siblings: Siblings | None = None
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(samples)
        ProcessCollector(registry=self._registry)
        self._token = token
        self._siblings = siblings

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return (Route("/metrics", {"GET": Endpoint(self.metrics)}),)

    def families(self) -> list[Family]:
        """The metrics of this process, for its siblings."""
        return families_of(self._registry.collect())

    async def metrics(self, request: Request) -> Answer:
        """Everything, in Prometheus' text format."""
        if self._token is not None and not matches_any(bearer(request.headers), (self._token,)):
            return UNAUTHORIZED
        registry = self._registry
        if self._siblings is not None:
            families = cast("list[tuple[int, list[Family]]]", await self._siblings.ask(METRICS))
            registry = Merged(merged_metrics(families, self._siblings.count))
        return Answer(200, generate_latest(registry), (("Content-Type", CONTENT_TYPE_LATEST),))
