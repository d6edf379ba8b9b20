from __future__ import annotations

import pytest

from pyrep.host import NoHostAgent
from pyrep.model.ids import VolumeId
from pyrep.seams import HostAgent


@pytest.mark.parametrize("verb", ["stop", "start", "unmount", "mount", "recover"])
def test_an_agent_without_a_host_does_nothing_and_succeeds(verb: str) -> None:
    agent: HostAgent = NoHostAgent()
    getattr(agent, verb)(VolumeId("105a"))
