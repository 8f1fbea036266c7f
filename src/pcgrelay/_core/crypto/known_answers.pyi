"""Native only: its contract is `src/_core/crypto/known_answers.pxd`. Nothing of it is visible from Python."""
