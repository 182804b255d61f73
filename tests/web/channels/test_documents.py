"""What docs/channels.md says about adding a topic works as it stands."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.repository.documents import ROOT, blocks, text_of
from tests.web.channels.support import ANN, Client, reply
from web.channels.identity import ANONYMOUS, User
from web.channels.router import ChannelRouter
from web.wiring import feature

PAGE: Final = ROOT / "docs" / "channels.md"
TOPIC: Final = "shout:1"


def shout() -> ChannelRouter:
    """The route of the example."""
    namespace: dict[str, Any] = {"__name__": "shout"}
    [example] = [block for block in blocks(PAGE) if block.language == "python"]
    exec(compile(example.text, str(PAGE), "exec"), namespace)  # noqa: S102 - our own document
    return ChannelRouter({"shout:*": namespace["Shout"]().join})


def test_the_example_of_a_topic_talks_to_all_who_joined() -> None:
    router = shout()
    ann, bob = Client(router, user=ANN), Client(router, user=User("u2", "Bob"))

    assert ann.join(TOPIC) == [reply("1", "1", TOPIC, "ok", {"others": 0})]
    assert bob.join(TOPIC) == [reply("1", "1", TOPIC, "ok", {"others": 1})]
    said = [None, None, TOPIC, "said", {"text": "HI"}]
    assert ann.say("1", "2", TOPIC, "shout", {"text": "hi"}) == [reply("1", "2", TOPIC, "ok", {}), said]
    assert bob.transport.take() == [said]


def test_the_example_of_a_topic_refuses_and_forgets() -> None:
    router = shout()
    ann = Client(router)
    ann.join(TOPIC)

    refused, closed = Client(router, user=ANONYMOUS).join(TOPIC)
    assert (refused[4]["response"], closed[3]) == ({"reason": "unauthorized"}, "phx_close")
    assert ann.say("1", "2", TOPIC, "dance", {})[0][4]["response"] == {"reason": "unknown_event"}
    ann.session.closed()
    assert Client(router).join(TOPIC)[0][4]["response"] == {"others": 0}


def test_the_place_that_it_names_for_the_route_is_there() -> None:
    [(method, path)] = re.findall(r"by `(\w+)` of a feature as `([\w/.]+)`", text_of(PAGE))

    assert (ROOT / path).samefile(feature.__file__)
    assert hasattr(feature.Feature, method)
