from __future__ import annotations

from pathlib import Path

from pyrep.model.matrix import matrix_markdown
from pyrep.model.pair import SplitCause
from pyrep.model.situation import Command

COMMANDS_PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def test_the_documented_matrix_is_the_one_that_decides() -> None:
    text = COMMANDS_PAGE.read_text()
    _, begun = text.split("<!-- matrix:begin (written by pyrep.model.matrix) -->\n")
    written, _ = begun.split("<!-- matrix:end -->")
    assert written.strip() == matrix_markdown().strip()


def test_every_command_and_every_split_cause_is_in_the_matrix() -> None:
    text = matrix_markdown()
    assert all(command.value in text for command in Command)
    assert all(cause.value in text for cause in SplitCause)
