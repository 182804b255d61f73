"""What tokens are signed with, and whether one is: HS256, RS256, ES256, EdDSA (RFC 7515 to 7519, 8037)."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jwt
from jwt.types import Options

SYMMETRIC: Final = "HS256"
# By the type of a public key: which algorithm it is for. Never taken from the token.
ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
CURVES: Final = {"EC": "P-256", "OKP": "Ed25519"}
# The public members of a key (RFC 7518, section 6; RFC 8037): whatever else stands there is left out.
PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")
# Shorter ones can be broken (RFC 7518, section 3.3).
RSA_BITS: Final = 2048
MAX_KEYS: Final = 64
MAX_TOKEN: Final = 8192
# What the clocks of two machines may differ by, the same for `exp`, `nbf` and `iat`.
LEEWAY_S: Final = 5.0
# Of a token whose header cannot be read, beside its own errors: what the library lets through for
# deeply nested JSON and for headers of unexpected types.
FAULTS: Final = (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError)
# The times are checked in `is_current`, with one leeway for all. We have no audience or issuer of our
# own, and `sub` may be a number.
OPTIONS: Final[Options] = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
}


class BadKeys(ValueError):
    """A document that is no set of keys. Its text says why."""


class PublicKey(NamedTuple):
    """One key of a set.

    Attributes:
        kid: Its name; None if it has none.
        algorithm: The only one it is used with.
        key: As the library has it.
    """

    kid: str | None
    algorithm: str
    key: Any


def read_jwks(document: bytes) -> tuple[PublicKey, ...]:
    """The usable keys of a JSON Web Key Set; keys for anything else are left out.

    Raises:
        BadKeys: It is none, or has no usable key.
    """
    try:
        members = json.loads(document)["keys"]
        found = [_read_key(member) for member in members[:MAX_KEYS]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadKeys("it is no JSON Web Key Set") from None
    keys = tuple(key for key in found if key is not None)
    if not keys:
        raise BadKeys("it has no key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)")
    return keys


def _read_key(member: Any) -> PublicKey | None:
    if not isinstance(member, dict):
        return None
    kty = member.get("kty")
    algorithm = ALGORITHMS.get(kty) if isinstance(kty, str) else None
    kid = member.get("kid")
    unusable = (
        algorithm is None
        or member.get("alg", algorithm) != algorithm
        or member.get("use", "sig") != "sig"
        or (kty in CURVES and member.get("crv") != CURVES[kty])
        or not (kid is None or isinstance(kid, str))
    )
    if unusable or algorithm is None:
        return None
    try:
        key = jwt.PyJWK({name: member[name] for name in PUBLIC if name in member}, algorithm).key
    except FAULTS:
        return None
    if kty == "RSA" and key.key_size < RSA_BITS:
        return None
    return PublicKey(kid, algorithm, key)


class JwtKeys:
    """The secrets and public keys that tokens may be signed with now.

    Args:
        secrets: Any of them will do for HS256, so that secrets can be rotated; tried in order.

    Attributes:
        on_changed: Called when the public keys have been replaced.
        on_unknown: Called for a token whose key is not known: it may be new.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._public: tuple[PublicKey, ...] = ()
        self.on_changed: Callable[[], None] = _nothing
        self.on_unknown: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self._public)

    def __bool__(self) -> bool:
        return True  # also without keys

    def replace(self, public: tuple[PublicKey, ...]) -> None:
        """Use these public keys and no others from now on."""
        self._public = public
        self.on_changed()

    def claims(self, token: str) -> Mapping[str, object] | None:
        """What a token says, if one of the keys has signed it; its times are not looked at."""
        if len(token) > MAX_TOKEN:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except FAULTS:
            return None
        algorithm = header.get("alg")
        if algorithm == SYMMETRIC:
            return self._first_good(token, algorithm, self._secrets)
        kid = header.get("kid")
        keys = [
            each.key
            for each in self._public
            if each.algorithm == algorithm and (kid is None or each.kid in {kid, None})
        ]
        if not keys:
            self.on_unknown()
        return self._first_good(token, str(algorithm), keys)

    @staticmethod
    def _first_good(token: str, algorithm: str, keys: Sequence[Any]) -> Mapping[str, object] | None:
        for key in keys:
            claims = _claims(token, key, algorithm)
            if claims is not None:
                return claims
        return None


def is_current(claims: Mapping[str, object], now: float) -> bool:
    """Whether the times in a token's claims (RFC 7519, section 4.1) allow it to be used at `now`."""
    expires_at = number_of(claims.get("exp"))
    if expires_at is None or now >= expires_at + LEEWAY_S:
        return False
    for name in ("nbf", "iat"):
        if name in claims:
            not_before = number_of(claims[name])
            if not_before is None or now < not_before - LEEWAY_S:
                return False
    return True


def number_of(value: object) -> int | float | None:
    """A NumericDate; None for anything else. JSON of strangers may hold NaN, infinities and huge integers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def _claims(token: str, key: Any, algorithm: str) -> Mapping[str, object] | None:
    with warnings.catch_warnings():
        # Whether the operator's secret is long enough is no news with every token.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return jwt.decode(token, key, algorithms=[algorithm], options=OPTIONS)
        except FAULTS:
            return None


def _nothing() -> None:
    pass
