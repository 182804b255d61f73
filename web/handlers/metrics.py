"""Counters as Prometheus text, read from the parts at the moment of the scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from web.handlers.http import Answer
from web.handlers.routes import Endpoint, Route
from web.handlers.tokens import UNAUTHORIZED, bearer, matches_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric
    from pydantic import SecretStr

    from web.handlers.http import Request

NAMESPACE: Final = "greenroom"


class Sample(NamedTuple):
    """One number, or one number for each value of a label, as of now.

    Attributes:
        name: Without the namespace; that of a counter without `_total`.
        help: One sentence.
        value: The number, or numbers by the label's value.
        label: Name of that label.
        is_counter: Whether it only ever grows.
    """

    name: str
    help: str
    value: float | Mapping[str, float]
    label: str = ""
    is_counter: bool = False


def gauge(name: str, text: str, value: float) -> Sample:
    """Something that goes up and down."""
    return Sample(name, text, value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Sample:
    """Several that go up and down, told apart by a label."""
    return Sample(name, text, values, label)


def counter(name: str, text: str, value: float) -> Sample:
    """Something that only grows."""
    return Sample(name, text, value, is_counter=True)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Sample:
    """Several that only grow, told apart by a label."""
    return Sample(name, text, values, label, is_counter=True)


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
    family = CounterMetricFamily if sample.is_counter else GaugeMetricFamily
    name = f"{NAMESPACE}_{sample.name}"
    if isinstance(sample.value, float | int):
        return family(name, sample.help, value=sample.value)
    metric = family(name, sample.help, labels=[sample.label])
    for label_value, number in sample.value.items():
        metric.add_metric([label_value], number)
    return metric


class MetricsHandlers:
    """`/metrics`.

    Args:
        samples: What is served.
        token: Closes it to all who do not bear this token.
    """

    def __init__(self, samples: Samples, *, token: SecretStr | None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(samples)
        ProcessCollector(registry=self._registry)
        self._token = token

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        return (Route("/metrics", {"GET": Endpoint(self.metrics)}),)

    async def metrics(self, request: Request) -> Answer:
        """Everything, in Prometheus' text format."""
        if self._token is not None and not matches_any(bearer(request.headers), (self._token,)):
            return UNAUTHORIZED
        return Answer(200, generate_latest(self._registry), (("Content-Type", CONTENT_TYPE_LATEST),))
