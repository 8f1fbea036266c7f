from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pcgrelay._core.base.wire cimport WIRE_UDP_BODY_MAX


cdef extern from *:
    """
    /* Lengths of a body that are tried, from the longest on: what no network of today cuts, what goes through most
       tunnels, and what goes everywhere. */
    static const uint32_t probes_lengths[3] = {1200, 1000, 500};
    """
    const uint32_t probes_lengths[3]

cdef enum:
    LENGTHS = 3
    MILLION = 1000000


cdef void probes_begin(UdpProbes* self, uint64_t now_us) noexcept nogil:
    memset(self, 0, sizeof(UdpProbes))
    self.state = UDP_OPENING
    self.due_us = self.heard_us = now_us
    self.longest = WIRE_UDP_BODY_MAX


cdef void probes_follow(UdpProbes* self, const UdpProbes* other) noexcept nogil:
    if other.state == UDP_OPENING:
        return
    self.mend_us = other.mend_us
    self.up_us = other.up_us
    if other.state == UDP_BROKEN:
        self.state = UDP_BROKEN
        self.base_us = 0


cdef void probes_tx(UdpProbes* self, uint64_t token, uint64_t sent, uint64_t now_us, uint64_t probe_us) noexcept nogil:
    cdef UdpProbe* probe = &self.probes[self.probe_count % PROBES_KEPT]
    probe.token = token
    probe.sent = sent
    probe.sent_us = now_us
    self.probe_count += 1
    self.due_us = now_us + probe_us


# What was lost between two samples. What the peer says may be anything.
cdef uint64_t lost_between(const UdpSample* first, const UdpSample* last) noexcept nogil:
    cdef uint64_t sent = last.sent - first.sent
    cdef uint64_t taken = last.taken - first.taken
    if last.taken < first.taken:
        return sent
    return 0 if taken > sent else sent - taken


cdef uint32_t ppm_between(const UdpSample* first, const UdpSample* last) noexcept nogil:
    cdef uint64_t sent = last.sent - first.sent
    return 0 if sent == 0 else <uint32_t>(lost_between(first, last) * MILLION / sent)


cdef void fall(UdpProbes* self, uint64_t now_us) noexcept nogil:
    self.mend_us = PROBES_MEND_US if self.mend_us == 0 or now_us - self.up_us > PROBES_MEND_MOST_US \
        else 2 * self.mend_us
    if self.mend_us > PROBES_MEND_MOST_US:
        self.mend_us = PROBES_MEND_MOST_US
    self.state = UDP_BROKEN
    self.base_us = 0


cdef UdpTurn rise(UdpProbes* self, uint64_t now_us) noexcept nogil:
    self.state = UDP_UP
    self.up_us = now_us
    # What was lost before is no sign of what is lost now.
    self.sample_count = 0
    self.told = False
    return UDP_CAME_UP


cdef UdpTurn probes_rx(UdpProbes* self, uint64_t token, uint64_t taken, uint64_t now_us, bint* known) noexcept nogil:
    cdef UdpSample sample
    cdef UdpProbe* probe = NULL
    cdef uint64_t sample_us
    cdef UdpTurn answer = UDP_AS_BEFORE
    cdef uint32_t i
    for i in range(PROBES_KEPT):
        if token != 0 and self.probes[i].token == token:
            probe = &self.probes[i]
    known[0] = probe != NULL
    if probe == NULL:
        return answer
    sample_us = now_us - probe.sent_us
    self.round_trip_us = sample_us if self.round_trip_us == 0 else (7 * self.round_trip_us + sample_us) / 8
    self.heard_us = now_us
    sample.sent = probe.sent
    sample.taken = taken
    # A second REPORT to it says nothing.
    probe.token = 0
    if self.state == UDP_OPENING:
        answer = rise(self, now_us)
    elif self.state == UDP_BROKEN:
        answer = rx_broken(self, &sample, now_us)
    return measure(self, &sample, now_us) if answer == UDP_AS_BEFORE else answer


# It must lose less than it may for mend_us together.
cdef UdpTurn rx_broken(UdpProbes* self, const UdpSample* sample, uint64_t now_us) noexcept nogil:
    if self.base_us != 0 and now_us - self.base_us < self.mend_us:
        return UDP_AS_BEFORE
    if self.base_us != 0 and ppm_between(&self.base, sample) < PROBES_LOSS_MENDED:
        return rise(self, now_us)
    self.base = sample[0]
    self.base_us = now_us
    return UDP_AS_BEFORE


# Compare with the sample before the window.
cdef UdpTurn measure(UdpProbes* self, const UdpSample* sample, uint64_t now_us) noexcept nogil:
    cdef UdpSample* oldest = &self.samples[self.sample_count % PROBES_WINDOW if self.sample_count >= PROBES_WINDOW
                                           else 0]
    cdef UdpTurn answer = UDP_AS_BEFORE
    if self.sample_count != 0:
        self.loss_ppm = ppm_between(oldest, sample)
        if self.state == UDP_UP and self.sample_count >= PROBES_WINDOW and self.loss_ppm > PROBES_LOSS_MOST \
                and lost_between(oldest, sample) >= PROBES_LOST_LEAST:
            fall(self, now_us)
            answer = UDP_LOSES
    self.samples[self.sample_count % PROBES_WINDOW] = sample[0]
    self.sample_count += 1
    return answer


cdef UdpTurn probes_tick(UdpProbes* self, uint64_t now_us, uint64_t probe_us) noexcept nogil:
    cdef bint told = self.told or self.state == UDP_BROKEN
    if now_us - self.heard_us <= PROBES_SILENCE * probe_us:
        return UDP_AS_BEFORE
    self.heard_us = now_us
    self.base_us = 0
    if self.state == UDP_UP:
        fall(self, now_us)
    self.told = True
    # Perhaps it is the length. After the shortest one the longest is tried again.
    if self.longest == probes_lengths[LENGTHS - 1]:
        self.longest = WIRE_UDP_BODY_MAX
    else:
        probes_shorten(self)
    return UDP_AS_BEFORE if told else UDP_FELL_SILENT


cdef void probes_forgive(UdpProbes* self, uint64_t away_us, uint64_t now_us) noexcept nogil:
    self.heard_us += away_us
    if self.heard_us > now_us:
        self.heard_us = now_us


cdef void probes_shorten(UdpProbes* self) noexcept nogil:
    cdef uint32_t i
    for i in range(LENGTHS):
        if probes_lengths[i] < self.longest:
            self.longest = probes_lengths[i]
            return
