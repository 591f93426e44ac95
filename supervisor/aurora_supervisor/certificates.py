"""Self-signed certificates, for tests and for a start: the command ``cert``.

One file is the server's certificate and, for clients, the authority that signed it: they
name it with ``ca=``. For machines that strangers reach, take one from an authority.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_actors.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Made", "make_certificate"]

_CERTIFICATE: Final = "server.pem"
_KEY: Final = "server.key"
_MOST_DAYS: Final = 36_500


class Made(NamedTuple):
    """What was made.

    Attributes:
        certificate: The certificate's file; also what clients name with ``ca=``.
        key: The key's file, for the owner alone.
        names: For which names and addresses it is.
        expires: Until when.
    """

    certificate: str
    key: str
    names: list[str]
    expires: datetime


def make_certificate(
    directory: Path, names: list[str], days: int, *, overwrite: bool = False
) -> Made:
    """Make a key and a self-signed certificate for ``names`` in ``directory``.

    Args:
        directory: Made if it does not exist.
        names: Host names and addresses under which clients reach the server.
        days: How long it is valid.
        overwrite: Put them in the place of existing ones.

    Raises:
        UsageError: a name or the time will not do, or there is a certificate already.
        UnavailableError: the extra ``tls`` is not installed, or the files cannot be
            written.
    """
    certificate, key = directory / _CERTIFICATE, directory / _KEY
    if not 1 <= days <= _MOST_DAYS:
        raise UsageError(f"a certificate is valid for 1 to {_MOST_DAYS} days")
    if not overwrite and (certificate.exists() or key.exists()):
        raise UsageError(
            f"there is a certificate in {directory}; --overwrite replaces it"
        )
    try:
        made = _sign(names, days)
    except ImportError as exc:
        raise UnavailableError(
            'this needs the extra tls: pip install "aurora-actors[tls]"'
        ) from exc
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(key, made[0], 0o600)
        _write(certificate, made[1], 0o644)
    except OSError as exc:
        raise UnavailableError(f"{exc.filename}: {exc.strerror}") from exc
    return Made(str(certificate), str(key), names, made[2])


def _sign(names: list[str], days: int) -> tuple[bytes, bytes, datetime]:
    # An extra, and 50 ms to import.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    expires = now + timedelta(days=days)
    builder = _described(x509.CertificateBuilder(), names, key.public_key())
    # A clock may be a little behind.
    builder = builder.not_valid_before(now - timedelta(hours=1))
    signed = builder.not_valid_after(expires).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    key_text = key.private_bytes(
        pem,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key_text, signed.public_bytes(pem), expires


def _described(
    builder: x509.CertificateBuilder, names: list[str], key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aurora-actors")])
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    builder = builder.subject_name(subject).issuer_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    builder = builder.add_extension(
        x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        ),
        critical=True,
    )
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key), critical=False
    )
    return builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as exc:
        raise UsageError(
            f"{name!r:.100} is neither a host name nor an address"
        ) from exc


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    draft.replace(path)
