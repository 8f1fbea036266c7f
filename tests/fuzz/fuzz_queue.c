/* Whatever is pushed, sent, popped, settled and cut, with memory or without: a queue gives out the bytes that went in,
 * in order; an account has queued just what is owned; the pool gets everything back. */
#include <sys/uio.h>

#include "harness.h"

typedef struct buf {
    struct buf *next;
    uint64_t number;
    uint32_t refs, size_class, capacity, length, frame_epoch, frame_type;
} buf;

typedef struct {
    buf *free[6];
    uint64_t limit, reserve, used, cached, high_water;
} pool;

typedef struct {
    void *owner;
    uint64_t queued, cap;
    uint32_t items;
} account;

typedef struct {
    uint8_t *p;
    uint32_t n, kind;
    buf *buf;
    account *account;
} span;

typedef struct {
    span *ring;
    uint32_t mask, head, count, borrowed;
    uint64_t bytes, owned;
    span single;
} queue;

static void (*pool_start)(pool *, uint64_t, uint64_t);
static void (*pool_stop)(pool *);
static buf *(*buf_alloc)(pool *, size_t, int);
static void (*buf_drop)(pool *, buf *);
static int (*queue_push)(queue *, pool *, uint8_t *, uint32_t, buf *, account *);
static uint32_t (*queue_vectors)(queue *, struct iovec *, uint32_t);
static void (*queue_sent)(queue *, pool *, uint64_t);
static span (*queue_pop)(queue *);
static int (*queue_own)(queue *, pool *, int, uint32_t *);
static void (*queue_cut)(queue *, pool *, uint32_t);
static void (*queue_free)(queue *, pool *);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    pool_start = harness_function("pcgrelay._core.base.buf", "pool_start");
    pool_stop = harness_function("pcgrelay._core.base.buf", "pool_stop");
    buf_alloc = harness_function("pcgrelay._core.base.buf", "buf_alloc");
    buf_drop = harness_function("pcgrelay._core.base.buf", "buf_drop");
    queue_push = harness_function("pcgrelay._core.base.queue", "queue_push");
    queue_vectors = harness_function("pcgrelay._core.base.queue", "queue_vectors");
    queue_sent = harness_function("pcgrelay._core.base.queue", "queue_sent");
    queue_pop = harness_function("pcgrelay._core.base.queue", "queue_pop");
    queue_own = harness_function("pcgrelay._core.base.queue", "queue_own");
    queue_cut = harness_function("pcgrelay._core.base.queue", "queue_cut");
    queue_free = harness_function("pcgrelay._core.base.queue", "queue_free");
    return 0;
}

enum { SPANS = 512, ROOM = 1 << 18 };

/* The model: each span's bytes are one value, counted up. */
static uint32_t lengths[SPANS];
static uint8_t marks[SPANS], charged[SPANS];

static uint64_t model_bytes(uint32_t first, uint32_t last) {
    uint64_t sum = 0;
    for (uint32_t i = first; i < last; i++)
        sum += lengths[i];
    return sum;
}

static void compare(queue *q, uint32_t first, uint32_t last) {
    struct iovec vectors[SPANS];
    REQUIRE(q->count == last - first && q->bytes == model_bytes(first, last));
    REQUIRE(queue_vectors(q, vectors, SPANS) == last - first);
    for (uint32_t i = first; i < last; i++) {
        const uint8_t *p = vectors[i - first].iov_base;
        uint32_t n = (uint32_t)vectors[i - first].iov_len;
        REQUIRE(n == lengths[i] && p[0] == marks[i] && p[n - 1] == marks[i] && p[n / 2] == marks[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    pool *memory = malloc(sizeof(pool));
    queue q = {0};
    account owed = {0};
    uint32_t first = 0, last = 0, used = 0;
    /* The receive space: given up when it is full, after everything was settled. */
    uint8_t *space = malloc(ROOM);
    pool_start(memory, (uint64_t)(1 + take8(&in)) << 13, 1 << 20);
    while (in.n != 0 && last < SPANS) {
        uint8_t what = take8(&in) % 8;
        uint32_t n = 1 + take16(&in) % (what & 1 ? 65584 : 600), cut = 0;
        if (what < 4) {
            int own = what >= 2;
            buf *held = own ? buf_alloc(memory, n, 0) : NULL;
            uint8_t *p = space + used;
            if (own && held == NULL)
                continue;
            if (own) {
                REQUIRE(held->capacity >= n && held->refs == 1 && held->length == 0);
                held->length = n;
                p = (uint8_t *)held + 64;
            } else if (used + n > ROOM) {
                continue;
            }
            lengths[last] = n;
            marks[last] = (uint8_t)last;
            charged[last] = (uint8_t)(n & 1);
            memset(p, marks[last], n);
            if (queue_push(&q, memory, p, n, held, charged[last] ? &owed : NULL) != 0) {
                if (held)
                    buf_drop(memory, held);
                continue;
            }
            used += own ? 0 : n;
            last++;
        } else if (what == 4) {
            uint64_t sent = q.bytes ? n % (q.bytes + 1) : 0;
            queue_sent(&q, memory, sent);
            while (sent != 0) {
                uint32_t part = sent < lengths[first] ? (uint32_t)sent : lengths[first];
                lengths[first] -= part;
                sent -= part;
                first += lengths[first] == 0;
            }
        } else if (what == 5) {
            if (queue_own(&q, memory, n & 1, &cut) == 0) {
                REQUIRE(q.borrowed == 0 && q.owned == q.bytes);
                memset(space, 0xff, ROOM);
                used = 0;
            } else {
                REQUIRE(cut < q.count);
                queue_cut(&q, memory, cut);
                last = first + cut;
                REQUIRE(q.borrowed == 0 && q.owned == q.bytes);
            }
        } else if (what == 6) {
            cut = q.count ? n % (q.count + 1) : 0;
            queue_cut(&q, memory, cut);
            last = first + cut;
            /* As queue_rest does, which is inline. */
            if (q.count == 0 && n & 1)
                queue_free(&q, memory);
        } else if (q.count != 0) {
            span s = queue_pop(&q);
            REQUIRE(s.n == lengths[first] && s.p[0] == marks[first]);
            if (s.account) {
                s.account->queued -= s.buf ? s.n : 0;
                s.account->items--;
            }
            buf_drop(memory, s.buf);
            first++;
        }
        compare(&q, first, last);
        uint64_t queued = 0, items = 0;
        for (uint32_t i = 0; i < q.count; i++) {
            span *s = &q.ring[(q.head + i) & q.mask];
            items += s->account != NULL;
            queued += s->account && s->buf ? s->n : 0;
        }
        REQUIRE(owed.queued == queued && owed.items == items);
        REQUIRE(memory->used <= memory->limit + memory->reserve);
    }
    queue_free(&q, memory);
    REQUIRE(owed.queued == 0 && owed.items == 0 && memory->used == 0);
    pool_stop(memory);
    REQUIRE(memory->cached == 0);
    free(memory);
    free(space);
    return 0;
}
