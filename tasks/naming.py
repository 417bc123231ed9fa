"""What components are called: by one name, that of their yaml."""

from __future__ import annotations

import re
from typing import Any, ClassVar


class Named:
    """Base of components whose `name` stands in messages, tables and logs.

    name: the class's own in snake case (`DelayedXOR` is `delayed_xor`), unless the class sets another.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
