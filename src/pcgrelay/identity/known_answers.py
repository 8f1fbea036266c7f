"""Known-answer tests of the library that makes handshakes: published vectors, by the calls that pcgrelay makes."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 4 and 16: sealed bytes, then the tag.
_GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
_GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
_GCM_DATA = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_CLEAR = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
    "ba637b39"
)
_GCM_128 = bytes.fromhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
    "3d58e0915bc94fbc3221a5db94fae95ae7121a47"
)
_GCM_256 = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
    "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
)
# RFC 8439, section 2.8.2: the tag, and the first bytes that are sealed.
_CHACHA_KEY = bytes(range(0x80, 0xA0))
_CHACHA_IV = bytes.fromhex("070000004041424344454647")
_CHACHA_DATA = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
_CHACHA_CLEAR = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
_CHACHA_CLEAR += b"sunscreen would be it."
_CHACHA_HEAD = bytes.fromhex("d31a8d34648e60db7b86afbc53ef7ec2")
_CHACHA_TAG = bytes.fromhex("1ae10b594f09e26a7e902ecbd0600691")
# RFC 5869, A.1.
_HKDF_INPUT = bytes.fromhex("0b" * 22)
_HKDF_SALT = bytes(range(0x0D))
_HKDF_INFO = bytes(range(0xF0, 0xFA))
_HKDF_OUTPUT = bytes.fromhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")


def session_answers() -> dict[str, bool]:
    """Return whether each algorithm gives its published answer, by name."""
    return {
        "AES-256-GCM": _gcm(_GCM_KEY, _GCM_256),
        "AES-128-GCM": _gcm(_GCM_KEY[:16], _GCM_128),
        "CHACHA20-POLY1305": _chacha(),
        "HKDF-SHA256": HKDF(hashes.SHA256(), 42, _HKDF_SALT, _HKDF_INFO).derive(_HKDF_INPUT) == _HKDF_OUTPUT,
    }


def _gcm(key: bytes, sealed: bytes) -> bool:
    cipher = AESGCM(key)
    try:
        opened = cipher.decrypt(_GCM_IV, sealed, _GCM_DATA)
    except InvalidTag:
        return False
    return opened == _GCM_CLEAR and cipher.encrypt(_GCM_IV, _GCM_CLEAR, _GCM_DATA) == sealed


def _chacha() -> bool:
    sealed = ChaCha20Poly1305(_CHACHA_KEY).encrypt(_CHACHA_IV, _CHACHA_CLEAR, _CHACHA_DATA)
    return sealed[:16] == _CHACHA_HEAD and sealed[-16:] == _CHACHA_TAG
