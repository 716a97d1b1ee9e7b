"""How long the credentials last that let jobs in; their content is never kept, shown or copied."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.jobs import Finding
from deploy.sites import Credential

FOREVER = float("inf")
RENEW = {
    "x509": "voms-proxy-init -voms atlas -valid 96:00",
    "kerberos": "kinit",
    "idtoken": "condor_token_fetch",
}
NAMES = {"x509": "the grid proxy", "kerberos": "the Kerberos ticket", "idtoken": "HTCondor's token"}


def check_credential(credential: Credential, seconds: float, tokens: Sequence[Path] = ()) -> list[Finding]:
    """Return what is wrong with a credential: absent, expired, or not lasting as long as the jobs may run.

    Args:
        credential: which.
        seconds: how long the jobs may run, one after the other.
        tokens: directories where HTCondor looks for tokens.

    Returns:
        At most one finding.
    """
    renew = credential.renew or RENEW.get(credential.kind, "")
    name = NAMES.get(credential.kind, credential.kind)
    fix = f"`{renew}` renews it"
    end = {"x509": _proxy, "kerberos": _ticket}.get(credential.kind, lambda given: _token(given, tokens))(credential)
    if end is None:
        return [Finding("error", "credentials", f"{name} is missing or cannot be read", fix)]
    left = end - time.time()
    if left <= 0:
        return [Finding("error", "credentials", f"{name} expired {_hours(-left)} ago", fix)]
    if left < seconds:
        what = f"{name} lasts for another {_hours(left)}, and the jobs may run for {_hours(seconds)}"
        return [Finding("error", "credentials", what, fix)]
    return []


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.0f} min"


def proxy_file(credential: Credential) -> Path:
    """Return where a grid proxy lies."""
    usual = os.environ.get("X509_USER_PROXY") or f"/tmp/x509up_u{os.getuid()}"
    return (credential.path or Path(usual)).expanduser()


def _proxy(credential: Credential) -> float | None:
    """Return when a proxy ends: its first certificate is the proxy itself."""
    text = _output(["openssl", "x509", "-noout", "-enddate", "-in", str(proxy_file(credential))])
    found = re.search(r"notAfter=(.+) GMT", text)
    return _time(found[1], "%b %d %H:%M:%S %Y", UTC) if found else None


def _ticket(credential: Credential) -> float | None:
    """Return when the ticket-granting ticket ends, or may be renewed no more, as the batch system does."""
    cache = [str(credential.path.expanduser())] if credential.path else []
    lines = _output(["klist", *cache]).splitlines()
    ends = []
    for number, line in enumerate(lines):
        if "krbtgt/" not in line:
            continue
        dates = re.findall(r"\d\d/\d\d/\d\d(?:\d\d)? \d\d:\d\d:\d\d", line)
        renewable = re.search(r"renew until (\S+ \S+)", lines[number + 1]) if number + 1 < len(lines) else None
        for text in [*dates[1:], *([renewable[1].rstrip(",")] if renewable else [])]:
            year = "%Y" if len(text.split()[0]) == 10 else "%y"
            ends.append(_time(text, f"%m/%d/{year} %H:%M:%S"))
    return max(ends, default=None)


def _token(credential: Credential, directories: Sequence[Path]) -> float | None:
    """Return when the token ends that lasts longest: JSON Web Tokens say so in their second part."""
    files = [credential.path.expanduser()] if credential.path else []
    files += [path for directory in directories if directory.is_dir() for path in sorted(directory.iterdir())]
    ends = [end for file in files if (end := _token_end(file)) is not None]
    return max(ends, default=None)


def _token_end(file: Path) -> float | None:
    try:
        ends = [token_end(line) for line in file.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return None
    return max((end for end in ends if end is not None), default=None)


def token_end(token: str) -> float | None:
    """Return when a JSON Web Token ends, in seconds since 1970; ``FOREVER`` if it does not say, None if it is none.

    >>> token_end("x." + base64.urlsafe_b64encode(b'{"exp": 17}').decode().rstrip("=") + ".y")
    17.0
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return float(json.loads(base64.urlsafe_b64decode(parts[1] + "==")).get("exp", FOREVER))
    except (ValueError, TypeError, AttributeError):
        return None


def _time(text: str, form: str, zone: object = None) -> float:
    moment = datetime.strptime(" ".join(text.split()), form)
    return moment.replace(tzinfo=UTC).timestamp() if zone else moment.timestamp()


def _output(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return result.stdout if result.returncode == 0 else ""
