"""CAs and certificates of tests, made with openssl: good ones, and each kind that nobody should trust."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """A CA in a directory of its own; `pem` is what trusts it."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.pem = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._database = directory / f"{name}.txt"
        self._database.touch()
        self._configuration = directory / f"{name}.cnf"
        self._configuration.write_text(
            f"[ca]\ndefault_ca = this\n[this]\ndatabase = {self._database}\nnew_certs_dir = {directory}\n"
            "rand_serial = yes\ndefault_md = sha256\npolicy = any\ncopy_extensions = copy\n"
            "unique_subject = no\n"
            "[any]\ncommonName = supplied\n"
        )
        _openssl(
            "req", "-x509", *_KEY, "-days", "3650", "-keyout", self._key, "-out", self.pem,
            "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def server(
        self,
        names: str = "DNS:localhost,IP:127.0.0.1",
        start: str = "20200101000000Z",
        end: str = "20991231000000Z",
    ) -> ssl.SSLContext:
        """What a server shows: a certificate for `names` that is valid in this time."""
        place = self._directory / f"{self.pem.stem}-{len(list(self._directory.iterdir()))}"
        key, request, certificate = (place.with_suffix(one) for one in (".key", ".csr", ".crt"))
        _openssl(
            "req", *_KEY, "-keyout", key, "-out", request, "-subj", "/CN=server",
            "-addext", f"subjectAltName={names}", "-addext", "extendedKeyUsage=serverAuth",
        )  # fmt: skip
        _openssl(
            "ca", "-batch", "-notext", "-config", self._configuration, "-cert", self.pem,
            "-keyfile", self._key, "-in", request, "-out", certificate, "-startdate", start, "-enddate", end,
        )  # fmt: skip
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        return tls


def _openssl(*arguments: str | Path) -> None:
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("no openssl command to make a certificate with")
    subprocess.run([command, *map(str, arguments)], check=True, capture_output=True)
