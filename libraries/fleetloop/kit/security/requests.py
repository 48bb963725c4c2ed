"""Certificate signing requests: their owner makes key and request, and only the request leaves the owner.

`make_request` runs where the key stays. `read_request` runs where the authority is: it checks that the request proves
possession of its key, names exactly the identity that is to be enrolled, and has a strong key.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.security.certificates import PublicKey, identity_of, names_for, pem_of_key
from fleetloop.kit.security.identity import Identity, PkiError

_MOST_BYTES = 16_384
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_RSA_BITS = 3072, 8192
_KEYS = "use an ECDSA key on P-256 or P-384, or RSA with 3072 to 8192 bits and the exponent 65537"


def make_request(identity: Identity, folder: Path) -> Path:
    """Writes key.pem (mode 0600) and request.pem to `folder`; a key that is there is used again.

    Raises PkiError when key.pem is there and cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key_file = folder / "key.pem"
    if key_file.exists():
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{key_file} is not an unencrypted private key; give another folder") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{key_file} is not an ECDSA key; give another folder")
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        replace_bytes(key_file, pem_of_key(key), mode=0o600, sync=True)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names_for(identity, ()), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "request.pem"
    replace_bytes(path, request.public_bytes(serialization.Encoding.PEM), mode=0o644, sync=True)
    return path


def read_request(pem: bytes, identity: Identity) -> PublicKey:
    """The key to be certified. Raises PkiError, which names the field of the request and the remedy."""
    remedy = f"make it with `fleetloop {identity.kind}s request {identity.name}`"
    if len(pem) > _MOST_BYTES:
        raise PkiError(f"the request has {len(pem)} bytes, more than {_MOST_BYTES}; {remedy}")
    try:
        request = x509.load_pem_x509_csr(pem)
        signed = request.is_signature_valid
        key = request.public_key()
        names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound as error:
        raise PkiError(f"the request has no subject alternative name; {remedy}") from error
    except Exception as error:  # the parser raises several kinds for damaged bytes and for keys that it does not know
        raise PkiError(f"this is not a certificate signing request in PEM format ({error}); {remedy}") from error
    if not signed:
        raise PkiError(f"signature: the request is not signed with its own key; {remedy}")
    try:
        found = identity_of(request)
    except PkiError as error:
        raise PkiError(f"subject alternative name: {error}; {remedy}") from error
    if found != identity:
        raise PkiError(f"subject alternative name: the request is of {found.uri}, not of {identity.uri}; {remedy}")
    if len(names) != 1:
        raise PkiError(f"subject alternative name: the request has more names than {identity.uri}; {remedy}")
    return _strong(key)


def _strong(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise PkiError(f"public key: the curve {key.curve.name} is not accepted; {_KEYS}")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        fewest, most = _RSA_BITS
        if not fewest <= key.key_size <= most or key.public_numbers().e != 65_537:
            found = f"RSA with {key.key_size} bits and the exponent {key.public_numbers().e}"
            raise PkiError(f"public key: {found} is not accepted; {_KEYS}")
        return key
    raise PkiError(f"public key: {type(key).__name__} is not accepted; {_KEYS}")
