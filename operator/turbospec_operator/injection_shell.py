"""Just enough of the shell's grammar to find a command in a script and the places between its words.

Not a parser: compound commands fall apart into their simple ones, expansions stay as they are written, heredocs are
read as commands. What matters is that no word is cut: quotes, substitutions and escapes are skipped as a shell does.
"""

from dataclasses import dataclass

_ENCLOSED = {
    "'": ("'", ""),
    '"': ('"', "\\$`"),
    "`": ("`", "\\"),
    "$(": (")", "\\$`'\"("),
    "${": ("}", "\\$`'\""),
    "(": (")", "\\$`'\"("),
}
"""What encloses text: by its opening, its closing and the characters that open something nested in it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a simple command: its text without quotes, and the offset in the script where it ends."""

    text: str
    end: int


def simple_commands(script: str) -> list[list[Word]]:
    """The simple commands of a script, each as its words (redirections' targets included)."""
    commands: list[list[Word]] = [[]]
    word: str | None = None
    position = 0
    while position < len(script):
        end = _separator_end(script, position, word)
        if end is None:
            end = _piece_end(script, position)
            word = (word or "") + _unquoted(script[position:end])
        else:
            # The digits before a redirection are a file descriptor, no word.
            if word is not None and not (word.isdigit() and script[position] in "<>"):
                commands[-1].append(Word(word, position))
            word = None
            if _ends_command(script, position):
                commands.append([])
        position = end
    if word is not None:
        commands[-1].append(Word(word, len(script)))
    return [command for command in commands if command]


def _separator_end(script: str, position: int, word: str | None) -> int | None:
    """Where the blank, comment, redirection or control operator at this position ends; None inside a word."""
    character = script[position]
    if script.startswith("\\\n", position):
        return position + 2
    if character in "<>" or script.startswith("&>", position):
        end = position + 1
        while end < len(script) and script[end] in "<>&|-":
            end += 1
        return end
    if character in " \t\r\n;&|()":
        return position + 1
    if character == "#" and word is None:
        newline = script.find("\n", position)
        return len(script) if newline < 0 else newline
    return None


def _ends_command(script: str, position: int) -> bool:
    return script[position] in "\n;|()" or (script[position] == "&" and not script.startswith("&>", position))


def _piece_end(script: str, position: int) -> int:
    """Where the quote, substitution, escape or plain character at this position ends."""
    for opening in (script[position : position + 2], script[position]):
        if opening in _ENCLOSED:
            closing, nested = _ENCLOSED[opening]
            return _after(script, closing, position + len(opening), nested)
    return position + (2 if script[position] == "\\" else 1)


def _after(script: str, closing: str, position: int, nested: str) -> int:
    """The offset behind the next ``closing``; what begins with a character of ``nested`` is skipped whole."""
    while position < len(script):
        if script[position] == closing:
            return position + 1
        position = _piece_end(script, position) if script[position] in nested else position + 1
    return len(script)


def _unquoted(piece: str) -> str:
    if len(piece) >= 2 and piece[0] in "'\"" and piece[-1] == piece[0]:
        return piece[1:-1]
    return piece[1:] if piece[0] == "\\" else piece
