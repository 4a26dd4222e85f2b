"""What is wrong between a client and a daemon over TLS, and what to configure."""

import ssl

EXPIRED, NOT_YET_VALID, NAME, ADDRESS = 10, 9, 62, 64
"""OpenSSL's verify codes (X509_V_ERR_...)."""
PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})


def tls_trouble(error: BaseException, cacert: str = "--cacert", cert: str = "--cert") -> str | None:
    """Return what is wrong, with what to do in parentheses; None if it is not about TLS.

    `cacert` and `cert` are what the client calls its options.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        found = found.__cause__ or found.__context__
    if found is None or isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return _of_the_daemons(found, cacert)
    reason = found.reason or ""
    if reason in PLAIN:
        return "it does not speak TLS there (give http://, or the port that serves TLS)"
    if reason in OLD:
        return "it does not speak TLS 1.3 (is another program in between?)"
    if "ALERT" in reason:
        refused = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return (
            f"it refuses the client's certificate: {refused} (give {cert} a certificate that is"
            " valid and signed by one of tls_clients, with its key)"
        )
    return f"TLS fails: {reason or found}"


def _of_the_daemons(error: ssl.SSLCertVerificationError, cacert: str) -> str:
    why = f"its certificate cannot be trusted: {error.verify_message}"
    code = error.verify_code
    if code == EXPIRED:
        return f"{why} (renew tls_certificate of the daemon)"
    if code == NOT_YET_VALID:
        return f"{why} (compare the clocks of both hosts)"
    if code in (NAME, ADDRESS):
        return f"{why} (use a name that is in tls_certificate of the daemon)"
    return f"{why} (give {cacert} the CA that signed tls_certificate of the daemon)"
