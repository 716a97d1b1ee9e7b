"""Print what pip is configured with on this machine: the package index, certificates, proxy.

python3 scripts/pip_settings.py uv       as variables that uv reads, for a shell; uv does not read pip's files
python3 scripts/pip_settings.py conf     as a pip.conf that means something on any machine, for builds of images

Any Python 3 with pip will do. What is set for uv already is left as it is.
"""

import ast
import os
import shlex
import subprocess
import sys
from urllib.parse import unquote, urlsplit

LISTS = ("extra-index-url", "find-links", "trusted-host")
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def settings():
    """Return pip's settings by name; of a list, the places that exist.

    Returns:
        Lists of words.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    result = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):  # the environment has the last word
        name, _, value = line.partition("=")
        name = name.partition(".")[2].lstrip(".").split(".")[-1].replace("default-timeout", "timeout")
        text = ast.literal_eval(value).strip()
        result[name] = [word for word in (text.split() if name in LISTS else [text]) if word and exists(word)]
    return result


def local(word):
    """Return the path that a word names as a path or file: URL; none for anything else."""
    return unquote(urlsplit(word).path) if word.startswith("file:") else word if word.startswith(("/", "~")) else None


def exists(word):
    """Return whether a word is no local place or one that is there."""
    path = local(word)
    return path is None or os.path.exists(os.path.expanduser(path))


def for_uv(pip):
    """Return uv's variables.

    Args:
        pip: pip's settings.

    Returns:
        Values by variable.
    """
    words = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": pip.get("extra-index-url"),
        "UV_FIND_LINKS": [",".join(pip.get("find-links", []))],
        "UV_INSECURE_HOST": pip.get("trusted-host"),
        "UV_HTTP_TIMEOUT": pip.get("timeout"),
        "UV_OFFLINE": ["1"] if pip.get("no-index", ["0"])[0].lower() in ("1", "true", "yes", "on") else None,
        "SSL_CERT_FILE": pip.get("cert", [os.environ.get("REQUESTS_CA_BUNDLE", "")]),
        "UV_SYSTEM_CERTS": ["1"] if any(map(os.path.exists, AUTHORITIES)) else None,
        "SSL_CLIENT_CERT": pip.get("client-cert"),
        "ALL_PROXY": pip.get("proxy"),
        # As pip does it: a release may lie in any of the indexes. Hashes say which file it is.
        "UV_INDEX_STRATEGY": ["unsafe-best-match"],
    }
    return {name: " ".join(value) for name, value in words.items() if value and value[0] and not os.environ.get(name)}


if __name__ == "__main__":
    if sys.argv[1] == "uv":
        for name, value in for_uv(settings()).items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        print("[global]")
        keys = ("index-url", "extra-index-url", "proxy", "trusted-host", "timeout")
        for name, words in settings().items():
            words = [word for word in words if local(word) is None]
            if name in keys and words:
                print(f"{name} = {' '.join(words)}")
