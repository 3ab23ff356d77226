"""The layouts that a murder's names may have, and a client that speaks the names of the plainest in any of them.

Tests say `INBOX.Work` and `team01`, and are told so, whatever stands on the wire.
"""
import dataclasses
import re

from wire import Session

# In a command: a mailbox of his own or of nobody's, as a word, between quotes, or in a URL of CATENATE.
OWN_OR_SHARED = re.compile(r'"/(?P<url>team0\d[^;"]*);|"?(?P<name>INBOX\.[^\s"()]*|team0[\d%][^\s"()]*)"?')
# In a command of an administrator.
USERS = re.compile(r"\b(?P<local>user\.[^\s@]+)(?P<domain>\S*)")
# In a response: where the name of a mailbox stands.
TOLD = re.compile(rb'(?P<head>\* (?:(?:LIST|LSUB) \([^)]*\) "[./]"|STATUS|METADATA|ACL|MYRIGHTS|QUOTAROOT|LISTRIGHTS) )'
                  rb'(?P<name>"[^"]*"|[^\s"]+)')
TOLD_BY_ESEARCH = re.compile(rb'(?P<head>\* ESEARCH .*MAILBOX )(?P<name>"[^"]*")')
# Told of what is nobody's where domains cross.
DEFAULT_DOMAIN = "murder.test"
SHARED, OTHERS = "Shared Folders", "Other Users"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How names look, and what a murder is told for it."""

    name: str
    options: tuple = ()
    is_unix: bool = False
    is_alt: bool = False
    has_domains: bool = False

    @property
    def separator(self):
        """Between the parts of a name."""
        return "/" if self.is_unix else "."

    def outside(self, name):
        """A name of the plain layout as it is in this one."""
        local, at, domain = name.partition("@")
        parts = local.split(".")
        if self.is_alt and parts[0] == "INBOX" and len(parts) > 1:
            parts = parts[1:]
        elif self.is_alt and parts[0].startswith("team0"):
            parts = [SHARED, *parts]
        return self.separator.join(parts) + at + domain

    def inside(self, name):
        """The reverse; names of others' mailboxes stay as they are."""
        local, at, domain = name.partition("@")
        parts = local.split(self.separator)
        if self.is_alt and parts[0] == OTHERS:
            return name
        if self.is_alt and parts[0] == SHARED and len(parts) > 1:
            parts = parts[1:]
        elif self.is_alt and parts[0] not in ("INBOX", SHARED):
            parts = ["INBOX", *parts]
        return ".".join(parts) + (at + domain if domain != DEFAULT_DOMAIN else "")

    def typed(self, command):
        """A command with its names as they are in this layout."""
        return OWN_OR_SHARED.sub(self.in_its_place, command)

    def in_its_place(self, match):
        """A name with quotes where they were or are needed."""
        if match["url"]:
            return f'"/{self.outside(match["url"]).replace(" ", "%20")};'
        name = self.outside(match["name"])
        return f'"{name}"' if match[0].startswith('"') or " " in name else name

    def typed_by_admin(self, command):
        """The same of an administrator, who sees the names inside but for their separator."""
        return USERS.sub(lambda m: m["local"].replace(".", self.separator) + m["domain"], command)

    def told(self, line):
        """A response with names as they are in the plain layout."""
        name = lambda m: self.inside(m["name"].strip(b'"').decode()).encode()
        line = TOLD.sub(lambda m: m["head"] + name(m), line, count=1)
        return TOLD_BY_ESEARCH.sub(lambda m: m["head"] + b'"' + name(m) + b'"', line, count=1)


PLAIN = Layout("plain")
DOMAIN_OPTIONS = ("--virtdomains",)
LAYOUTS = (
    Layout("tls", ("--tls", "--set", "frontend:rookery_backend_starttls=required", "--set", "backend:allowstarttls=yes")),
    Layout("unix", ("--unixhs",), is_unix=True),
    Layout("alt", ("--altns",), is_alt=True),
    Layout("crossdomains", ("--unixhs", "--altns", *DOMAIN_OPTIONS, "--set", "crossdomains=yes"), True, True, True),
    Layout("domains", DOMAIN_OPTIONS, has_domains=True),
    # By addresses, whose names say the domain: that of the test hosts is nobody's own.
    Layout("domains-on", ("--unixhs", "--altns", *DOMAIN_OPTIONS, "--set", "virtdomains=on",
                           "--set", "defaultdomain={domain}"), True, True, True),
)


class Spoken(Session):
    """A session in a layout."""

    def __init__(self, layout, is_admin, *arguments):
        self.layout, self.typed = layout, layout.typed_by_admin if is_admin else layout.typed
        super().__init__(*arguments)

    def command(self, text, *literals, sync=True):
        return super().command(self.typed(text), *literals, sync=sync)

    def line(self, timeout=None):
        return self.layout.told(super().line(timeout))
