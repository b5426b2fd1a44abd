"""Every message has its four parts."""

from __future__ import annotations

import contextlib
import re

from tests.bad_input import (  # noqa: F401 - they file their cases
    test_as_layout,
    test_clusters,
    test_packed_and_nodes,
    test_regions,
    test_spans,
    test_values,
    test_weight,
    test_where,
    test_with_values,
)
from tests.bad_input.cases import (
    ALL,
    check,
)


def test_every_message_says_what_to_do() -> None:
    """After the requirement and what was found there is a way out: one more sentence."""
    messages = {}
    for case in ALL:
        with contextlib.suppress(case.error):
            case.call()
            continue  # no error at all: the case's own test says so
        message = check(case)
        if case.parts:
            form = re.sub(r"\([^()]*\)", "()", re.sub(r"-?\d+(\.\d+)?", "N", message))
            messages[form.split("; found")[0]] = message
    without = [
        message for message in messages.values() if not re.fullmatch(r".+; found .+?\. [A-Z].+\.", message)
    ]
    assert not without, f"{len(without)} messages have no way out:\n" + "\n".join(sorted(without))
