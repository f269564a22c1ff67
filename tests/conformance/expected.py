"""What fails, and why it may: the one place. The README says the same in words."""

from __future__ import annotations

from tests.conformance.checks import Expectation

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
SESSIONS = "2025-11-25, sessions"

EXPECTED = (
    Expectation(
        run=LEGACY,
        scenarios=frozenset(
            {
                "tools-call-sampling",
                "tools-call-elicitation",
                "elicitation-sep1034-defaults",
                "elicitation-sep1330-enums",
            }
        ),
        reason="Before 2026-07-28 a server can ask the client during a call only within a session, which ties the"
        " client to one process. The door keeps none, so that any replica answers any request; the SDK's example"
        " server fails the same four when it runs without sessions. With them (the third run) nothing fails.",
    ),
)
