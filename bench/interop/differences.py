"""Where rookeryd answers differently on purpose. Each entry says why, and what is expected of it.

An entry matches by configuration, session name and command (regular expressions); `expect` is a
regular expression that the normalised answer, its lines joined by newlines, must match whole.
"cyrus.md" is the study of Cyrus' behaviour; numbers in "9.n" are its list of bugs.
"""
import re

import normalise


class Known:
    """One listed difference."""

    def __init__(self, command, expect, why, configuration=".*", session=".*"):
        self.command, self.expect = re.compile(command, re.S), re.compile(expect, re.S)
        self.configuration, self.session, self.why = re.compile(configuration), re.compile(session), why


KNOWN = [
    Known(r"ID .*", r'\* ID \("name" "Rookery".*\)\nTAG OK', "the answer to ID names the server that gives it"),
    Known(r"LOCAL(CREATE|DELETE) .*|DUMP .*", r"TAG NO.*",
          "verbs by which servers talk to servers are refused to users"),
]


def judge(configuration, expected, seen):
    """None when the answers are equal or differ as listed, else what is wrong."""
    text = normalise.difference(expected, seen)
    if text is None:
        return None
    joined = b"\n".join(normalise.exchange(seen)).decode("latin-1")
    for known in KNOWN:
        if (known.command.fullmatch(seen.command) and known.configuration.fullmatch(configuration)
                and known.session.fullmatch(seen.session)):
            if known.expect.fullmatch(joined):
                return None
            return f"{text}\n  listed as differing ({known.why}), but not like this"
    return text
