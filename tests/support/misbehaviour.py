"""What a recording relay answers instead of the usual, and to whom."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Stage = Literal["banner", "mail", "rcpt", "data", "dot"]


@dataclass(frozen=True)
class Rule:
    """One answer at one stage; where several apply, the first of them is given."""

    stage: Stage
    reply: str = ""
    """Without one it closes the connection instead; after a 421 it closes it, too."""
    share: float = 1.0
    """The share of the recipients, always the same ones."""
    chance: bool = False
    """Whether the share is drawn anew each time, so that everybody may be met."""
    whom: str = ""
    """Only a recipient (at MAIL a sender) whose address contains this."""
    keeps: bool = False
    """Whether a message is taken all the same, for the dot."""
    silent: bool = False
    """Whether it says nothing more, and leaves it to the client to close the connection."""
    times: int = 0
    """Only the first so many times to the same recipient; 0 is always."""
    messages: int = 0
    """Only after so many messages of the same connection."""
    connections: int = 0
    """Only while more than so many connections are open."""
    beyond: int = 0
    """Only beyond so many in `seconds`, which it lets pass."""
    seconds: float = 1.0

    def picks(self, address: str) -> bool:
        """Tell whether this address is one that the rule is for."""
        drawn = zlib.crc32(f"{self.stage} {self.reply} {address}".encode()) / 2**32
        return self.whom in address and (self.chance or self.share >= 1 or drawn < self.share)

    def applies(self, stage: str, messages: int, connections: int, draw: float) -> bool:
        """Tell whether it is this rule's turn, whoever the recipient is."""
        return (
            stage == self.stage
            and messages >= self.messages
            and connections > self.connections
            and (not self.chance or draw < self.share)
        )


def written(rules: Iterable[Rule]) -> str:
    """Write rules on one line."""
    return json.dumps([asdict(rule) for rule in rules])


def read(line: str) -> tuple[Rule, ...]:
    """Read rules from one line."""
    return tuple(Rule(**fields) for fields in json.loads(line))
