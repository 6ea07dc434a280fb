"""An issuer of tokens: keys of its own, and the tokens that it signs by them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.test", "predictmesh"


class Issuer:
    """Signs by any of its keys, which are known by their ids."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, Any]] = {}

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        """Make a key."""
        match algorithm[:2]:
            case "RS" | "PS":
                key: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            case "Ed":
                key = ed25519.Ed25519PrivateKey.generate()
            case _:
                key = ec.generate_private_key(ec.SECP256R1())
        self._keys[kid] = (algorithm, key)

    def withdraw(self, kid: str) -> None:
        """Publish a key no more; tokens can be signed by it even so."""
        algorithm, key = self._keys.pop(kid)
        self._keys[f"-{kid}"] = (algorithm, key)

    def token(self, kid: str = "one", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token for a minute; a claim that is given as None is left out."""
        algorithm, key = self._keys.get(kid) or self._keys[f"-{kid}"]
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 60, "roles": ["caller"], **claims}
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, key, algorithm, headers={"kid": kid} if headers is None else headers)

    def jwks(self) -> bytes:
        """What is published."""
        keys = [
            {**_jwk(algorithm, key), "kid": kid, "use": "sig"}
            for kid, (algorithm, key) in self._keys.items()
            if not kid.startswith("-")
        ]
        return json.dumps({"keys": keys}).encode()

    def publish(self, file: Path) -> str:
        """Write what is published to a file, and return its path."""
        file.write_bytes(self.jwks())
        return str(file)


def _jwk(algorithm: str, key: Any) -> dict[str, Any]:
    kind: Any = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "Ed": OKPAlgorithm}.get(algorithm[:2], ECAlgorithm)
    found: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return found
