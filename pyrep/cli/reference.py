"""The reference of all commands, written from the commands themselves (`docs/cli.md`).

`python -m pyrep.cli.reference` prints it; a test keeps the document equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from pyrep import errors
from pyrep.cli.program import main
from pyrep.errors import PyrepError

__all__ = ["render_reference"]

_HEAD = """# Commands of `pyrep`

Written by `python -m pyrep.cli.reference`; a test keeps it equal to what the program says. What each command does in each state of a pair
stands in [commands.md](commands.md).

`pyrep serve DIRECTORY` serves a storage system; the other commands talk to one that is served, over the unix socket `DIRECTORY/pyrep.sock`.
Which one is meant is said by `--system DIR` or `--socket PATH`, or by the environment: `PYREP_SYSTEM`, `PYREP_SOCKET`. What the command
names goes before the environment, and in the environment the socket before the directory.

- **`--json`**: one line of JSON on standard output, on every command. Of commands that begin a job, lines `{"job": …, "progress": …}` come
  first, `{"job": …, "result": …}` last (of `pair create`, `split`, `dissolve` and `sync` the result alone). An error is a line of JSON on standard error. A file's name that isn't UTF-8 is escaped in
  `path`, and its bytes stand in `path_b64`.
- **Again**: what is so already is done: exit status 0, so that scripts can be run again.
- **Ctrl-C** ends the command, not the job that it waits for; the message says how to wait on and how to cancel (exit status 130).
- **Sizes**: `4096`, `64K`, `10G`, `1.5T`, powers of 1024. **Times**: `90` (seconds), `10m`, `36h`, `14d`, `8w`.
- **Completion**: `eval "$(_PYREP_COMPLETE=bash_source pyrep)"` in `~/.bashrc`; `zsh_source` for zsh; for fish
  `_PYREP_COMPLETE=fish_source pyrep | source`.

## Exit status

| status | class | when |
|---|---|---|
| 0 | | done, or nothing was to be done |
"""


def render_reference() -> str:
    """Return the whole document."""
    lines = [*_HEAD.splitlines()]
    for kind in sorted(_classes(PyrepError), key=lambda kind: kind.exit_code):
        said = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        lines.append(f"| {kind.exit_code} | `{kind.__name__}` | {said} |")
    lines += ["| 60, 61 | | what `pyrep system check` found: WARNING, FAILED |"]
    lines += ["| 130 | | Ctrl-C |", "", "## Commands", ""]
    for path, command in _commands(main, "pyrep"):
        lines += [f"### `{path}`", "", "```text", _help(path, command), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _classes(root: type[PyrepError]) -> Iterator[type[PyrepError]]:
    if root.__name__ in errors.__all__:
        yield root
    for one in root.__subclasses__():
        yield from _classes(one)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in sorted(group.commands):
        one = group.commands[name]
        if isinstance(one, click.Group):
            yield from _commands(one, f"{path} {name}")
        else:
            yield f"{path} {name}", one


def _help(path: str, command: click.Command) -> str:
    context = click.Context(
        command,
        info_name=path,
        terminal_width=100,
        max_content_width=100,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context).rstrip()


if __name__ == "__main__":
    print(render_reference(), end="")  # noqa: T201 (what it is for)
