"""Certificates for the tests, made by openssl(1): an authority, the daemon's, and clients'."""

import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.needs("openssl")


def make(
    folder: Path,
    name: str,
    subject: str,
    *,
    ca: str | None = "ca",
    san: str = "",
    days: int = 2,
    is_ca: bool = False,
    usage: str = "",
) -> Path:
    """Make NAME.pem, a certificate with its key; signed by `ca`, or by itself for None.

    A "+" in the subject joins two attributes in one relative name. `usage` is what it is for
    (extendedKeyUsage), anything if it does not say; with `days` below 0 it has expired.
    """
    key, request, signed = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    if ca is None:
        _run(
            "req", "-x509", *curve, "-keyout", key, "-out", signed, "-subj", subject, "-days", days
        )
    else:
        _run("req", *curve, "-keyout", key, "-out", request, "-subj", subject, "-multivalue-rdn")
        extra = folder / f"{name}.ext"
        constraints = f"basicConstraints=CA:{'TRUE' if is_ca else 'FALSE'}\n"
        purpose = f"extendedKeyUsage={usage}\n" if usage else ""
        extra.write_text((f"subjectAltName={san}\n" if san else constraints) + purpose)
        by = ("-CA", folder / f"{ca}.crt", "-CAkey", folder / f"{ca}.key", "-CAcreateserial")
        _run("x509", "-req", "-in", request, *by, "-out", signed, "-days", days, "-extfile", extra)
    whole = folder / f"{name}.pem"
    whole.write_text(signed.read_text() + key.read_text())
    whole.chmod(0o600)
    return whole


def _run(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
