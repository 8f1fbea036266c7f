"""Reports of a running node about the dates of its own files: status, and a line in the log once a day.

Nothing is decided here. OpenSSL judges each handshake by the clock at that moment, so a clock that is corrected takes
effect at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from pcgrelay.admin.validity import CredentialsStatus, DateStatus
from pcgrelay.clock import Clock
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import Dated, Judged, Kind, Phase, date_mend, date_sentence, judged_all
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import (
    CertificateEnding,
    CertificateExpired,
    CertificateNotYetValid,
    CrlEnding,
    CrlExpired,
    CrlNotYetValid,
    DateRecord,
    Emit,
)

SAID_AGAIN_MS = 86_400_000

_CERTIFICATE: dict[Phase, type[DateRecord]] = {
    Phase.ENDING: CertificateEnding,
    Phase.EXPIRED: CertificateExpired,
    Phase.NOT_YET_VALID: CertificateNotYetValid,
}
_CRL: dict[Phase, type[DateRecord]] = {
    Phase.ENDING: CrlEnding,
    Phase.EXPIRED: CrlExpired,
    Phase.NOT_YET_VALID: CrlNotYetValid,
}


class Ageing:
    """The dates of the files of one node."""

    def __init__(self, local: LocalIdentity, emit: Emit, clock: Clock) -> None:
        self._local = local
        self._emit = emit
        self._clock = clock
        self._credentials: Credentials | None = None
        self._dated: Sequence[Dated] = ()
        self._phases: list[Phase] = []
        self._refusal = ""
        self._said: dict[Judged, int] = {}  # when it was logged, on the monotonic clock

    def tick(self) -> None:
        """Check all dates, and log what is due; called once a second."""
        judged = self._judged()
        grave = [each for each in judged if each.phase.is_wrong and self._is_grave(each, judged)]
        # A neighbour that refuses this node does not say why; this may be the cause.
        self._local.own_fault = " ".join(date_sentence(each) for each in grave)
        now_ms = self._clock.monotonic_ms()
        self._said = {each: at_ms for each, at_ms in self._said.items() if each in judged}
        for each in judged:
            if each.phase is not Phase.GOOD and now_ms - self._said.get(each, now_ms - SAID_AGAIN_MS) >= SAID_AGAIN_MS:
                self._said[each] = now_ms
                self._emit(self._record(each))

    def status(self) -> CredentialsStatus:
        """Return the status of all dates now."""
        judged = self._judged()
        return CredentialsStatus(
            refusal=self._refusal,
            dates=tuple(
                DateStatus(
                    kind=each.kind,
                    name=each.name,
                    state=each.phase,
                    not_before=each.span.start,
                    not_after=each.span.end,
                    sentence="" if each.phase is Phase.GOOD else f"{date_sentence(each)} {self._mend(each)}",
                    is_grave=each.phase.is_wrong and self._is_grave(each, judged),
                )
                for each in judged
            ),
        )

    def _judged(self) -> tuple[Judged, ...]:
        credentials = self._local.credentials
        if credentials is not self._credentials:
            self._credentials, self._phases = credentials, []
            self._dated = self._local.dated
        judged = judged_all(self._dated, self._clock.wall())
        phases = [each.phase for each in judged]
        if phases != self._phases:
            # This verifies the signature of a list that may be long: only when a phase has changed.
            self._phases = phases
            self._refusal = self._local.chain_refusal(credentials.chain) or ""
        return judged

    def _is_grave(self, wrong: Judged, judged: Sequence[Judged]) -> bool:
        """Whether peers are refused because of it. The list of a CA that has itself expired no longer matters."""
        if wrong.kind is Kind.CRL_FILE:
            return False
        if wrong.kind is not Kind.CRL:
            return wrong.is_leaf or bool(self._refusal)
        issuers = [each for each in judged if each.kind is Kind.TRUST and each.name == wrong.name]
        return bool(self._refusal) or not issuers or any(not each.phase.is_wrong for each in issuers)

    def _mend(self, judged: Judged) -> str:
        return date_mend(judged, self._local.config.identity)

    def _record(self, judged: Judged) -> DateRecord:
        kinds = _CRL if judged.kind in (Kind.CRL, Kind.CRL_FILE) else _CERTIFICATE
        return kinds[judged.phase](
            kind=judged.kind,
            name=judged.name,
            not_before=judged.span.start.isoformat(),
            not_after=judged.span.end.isoformat(),
            mend=self._mend(judged),
        )
