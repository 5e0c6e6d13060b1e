"""How does a test get certificates that nobody else trusts?"""

from __future__ import annotations

import subprocess
from pathlib import Path


def authority(folder: Path) -> Path:
    """A certificate authority, and a certificate that it has signed for the loopback address."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    sign = ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key"]
    for command in (
        [*new, "-x509", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.crt"],
        [*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        [*sign, "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.crt"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder
