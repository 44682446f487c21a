"""Certificate authorities of our own, made by the openssl command, for tests of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A self-made authority in a folder; `certificate` is what trusts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-sha256"],
            *("-subj", f"/CN={name}"),
            # From Python 3.13 on certificates are held to RFC 5280 strictly.
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def issue(self, name: str, alternative: str, *, days: int = 2) -> Path:
        """Return a PEM file with a key and its certificate; alternative is as in openssl's SAN."""
        key, request, made = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\n")
        _openssl(
            *["req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha256"],
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(made), "-days", str(days)),
            *("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-extfile", str(extensions), "-sha256"),
        )
        both = self.folder / f"{name}.both.pem"
        both.write_text(key.read_text() + made.read_text() + self.certificate.read_text())
        return both


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
