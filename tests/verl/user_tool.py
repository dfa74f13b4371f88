"""A tool as a user writes it for verl's ``multi_turn.function_tool_path``."""

from reward import NOTED
from verl.tools.function_tool import function_tool


@function_tool("note")
def note(text: str) -> str:
    """Notes a text.

    Args:
        text: what to note.
    """
    return NOTED
