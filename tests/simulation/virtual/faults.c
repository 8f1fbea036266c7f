/* Faults that no gateway may have, made on purpose: a test arms one and sees that the check of its name speaks up.
 * Those of the core stand in the place of one of its functions; see sabotage.py. */
#include <string.h>

#include "virtual.h"

enum { RESULT_OK = 0, RESULT_DUPLICATE = 102, FRAME_BUNDLE = 0x42, RECORD_DATA = 3, FRAME_PREFIX = 48, BUF_LENGTH_AT = 28 };

static uint32_t strikes_in[FAULTS];     /* so many chances from now; 0: never */

static bool deaf;

void faults_forget(void) {
    deaf = false;
    memset(strikes_in, 0, sizeof(strikes_in));
}

bool fault_strikes(int fault) {
    return strikes_in[fault] && --strikes_in[fault] == 0;
}

SHOWN void virtual_arm(int fault, uint32_t in) {
    strikes_in[fault] = in;
}

/* For faults of a control plane. */
SHOWN bool virtual_strikes(int fault) {
    return fault_strikes(fault);
}

SHOWN void *real_flow_open, *real_records_rx, *real_buf_drop, *real_relay_frame, *real_relay_lane_down,
    *real_tlv_raw, *real_meter_count, *real_direct_begin, *real_outlets_lead_on, *real_replay_check, *real_packet_open,
    *real_probes_tick, *real_udp_lane_push, *real_association_drop, *own_buf_alloc, *own_buf_drop;

/* A relay forwards a frame twice, each under a good header. The pool is the first of a shard. The bytes of a buffer lie
 * behind its head, which says how many they are: what is settled later goes behind them. */
SHOWN int faulty_relay_frame(void *shard, void *lane, const void *frame, uint8_t *wire, void *buf) {
    int (*real)(void *, void *, const void *, uint8_t *, void *) = real_relay_frame;
    uint8_t *copy = NULL;
    if (datagrams_are_wanted())
        real = datagrams_relayed;
    if (fault_strikes(TRICK_REPEATING_RELAY)) {
        uint32_t n = FRAME_PREFIX + ((uint32_t)wire[0] << 16 | (uint32_t)wire[1] << 8 | wire[2]);
        copy = ((void *(*)(void *, size_t, int))own_buf_alloc)(shard, n, 0);
        if (copy) {
            memcpy(copy + BUF_HEAD, wire, n);
            memcpy(copy + BUF_LENGTH_AT, &n, sizeof(n));
        }
    }
    int answer = real(shard, lane, frame, wire, buf);
    if (copy) {
        if (answer == RESULT_OK)
            answer = real(shard, lane, frame, copy + BUF_HEAD, copy);
        ((void (*)(void *, void *))own_buf_drop)(shard, copy);
    }
    return answer;
}

/* A frame that was opened, and counted, is dropped without a word. */
SHOWN int faulty_flow_open(void *flow, const void *frame, uint8_t *wire, uint64_t at_us) {
    int answer = ((int (*)(void *, const void *, uint8_t *, uint64_t))real_flow_open)(flow, frame, wire, at_us);
    if (answer == RESULT_OK && wire[3] == FRAME_BUNDLE && fault_strikes(FAULT_DROPPED_FRAME))
        return RESULT_DUPLICATE;
    return answer;
}

/* The data of a bundle are delivered twice. */
SHOWN int faulty_records_rx(void *shard, void *flow, uint8_t *body, uint32_t n, void *buf) {
    int (*real)(void *, void *, uint8_t *, uint32_t, void *) = real_records_rx;
    int answer = real(shard, flow, body, n, buf);
    if (answer == RESULT_OK && body[4] == RECORD_DATA && fault_strikes(FAULT_DOUBLED_BUNDLE))
        return real(shard, flow, body, n, buf);
    return answer;
}

/* A buffer is never given back. */
SHOWN void faulty_buf_drop(void *pool, void *buf) {
    if (buf && fault_strikes(FAULT_LEAKED_BUFFER))
        return;
    ((void (*)(void *, void *))real_buf_drop)(pool, buf);
}

/* A relay says nothing of the paths that a lost lane carried. */
SHOWN void faulty_relay_lane_down(void *shard, uint32_t link, uint32_t index) {
    (void)shard, (void)link, (void)index;
}

/* Bytes that were on their way are not in the record of a hand-over, but others. */
SHOWN void faulty_tlv_raw(void *tlv, const void *p, uint64_t n) {
    static const uint8_t blank[1 << 18];
    bool is_counting = *(void **)tlv == NULL;
    bool strikes = !is_counting && n > 64 && n <= sizeof(blank) && fault_strikes(FAULT_BLANKED_RECORD);
    ((void (*)(void *, const void *, uint64_t))real_tlv_raw)(tlv, strikes ? blank : p, n);
}

/* Something that came to pass is not in the figures. */
SHOWN void faulty_meter_count(void *figures, uint32_t which, uint64_t n) {
    if (figures && fault_strikes(FAULT_MISCOUNTED))
        return;
    ((void (*)(void *, uint32_t, uint64_t))real_meter_count)(figures, which, n);
}

/* An attempt on a direct outlet fails here, for nothing. */
SHOWN int faulty_direct_begin(void *shard, void *stream, uint64_t due_us) {
    if (fault_strikes(FAULT_FAILED_DIRECT))
        return 0;
    return ((int (*)(void *, void *, uint64_t))real_direct_begin)(shard, stream, due_us);
}

/* A stream whose attempt failed is forgotten. */
SHOWN void faulty_outlets_lead_on(void *shard, void *stream) {
    if (!fault_strikes(FAULT_NOT_LED_ON))
        ((void (*)(void *, void *))real_outlets_lead_on)(shard, stream);
}

/* A number that was taken is taken once more. */
SHOWN int faulty_replay_check(const void *window, uint64_t number) {
    int answer = ((int (*)(const void *, uint64_t))real_replay_check)(window, number);
    return answer != RESULT_OK && fault_strikes(FAULT_OPEN_WINDOW) ? RESULT_OK : answer;
}

/* A packet that was changed is believed. */
SHOWN int faulty_packet_open(void *key, uint64_t number, uint8_t *wire, uint32_t length) {
    int answer = ((int (*)(void *, uint64_t, uint8_t *, uint32_t))real_packet_open)(key, number, wire, length);
    return answer != RESULT_OK && fault_strikes(FAULT_BLIND_TAG) ? RESULT_OK : answer;
}

/* From now on nobody notices that no packet comes back. */
SHOWN int faulty_probes_tick(void *probes, uint64_t at_us, uint64_t probe_us) {
    deaf |= fault_strikes(FAULT_UNHEARD_SILENCE);
    return deaf ? 0 : ((int (*)(void *, uint64_t, uint64_t))real_probes_tick)(probes, at_us, probe_us);
}

/* A frame is given to a UDP lane, and never leaves. */
SHOWN void faulty_udp_lane_push(void *shard, void *lane, const uint8_t *wire, uint32_t length) {
    if (!fault_strikes(FAULT_SWALLOWED_PACKET))
        ((void (*)(void *, void *, const uint8_t *, uint32_t))real_udp_lane_push)(shard, lane, wire, length);
}

/* A datagram is dropped, and no figure has it. */
SHOWN void faulty_association_drop(void *shard, void *association, uint32_t cause) {
    if (!fault_strikes(FAULT_UNCOUNTED_DROP))
        ((void (*)(void *, void *, uint32_t))real_association_drop)(shard, association, cause);
}
