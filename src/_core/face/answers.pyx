"""Known answers of the core's cryptography, for Python. The contract is answers.pyi."""
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.base.wire cimport SUITE_AES_128_GCM, SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305
from pcgrelay._core.crypto.known_answers cimport known_answer_derivation, known_answer_suite


def known_answers() -> dict:
    """Whether each cipher and the derivation of keys give the published answers, by name."""
    return {
        "AES-256-GCM": known_answer_suite(SUITE_AES_256_GCM) == RESULT_OK,
        "AES-128-GCM": known_answer_suite(SUITE_AES_128_GCM) == RESULT_OK,
        "CHACHA20-POLY1305": known_answer_suite(SUITE_CHACHA20_POLY1305) == RESULT_OK,
        "HKDF-SHA256": known_answer_derivation() == RESULT_OK,
    }
