from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.map cimport map_find, map_free, map_put, map_remove
from pcgrelay._core.stream.service_tables cimport Prefix


cdef enum:
    MAPPED = 12                 # bytes before the IPv4 address in an address of IPv6 that stands for one


cdef void clients_start(Clients* self, uint32_t number, int fd, const uint64_t* keys) noexcept nogil:
    memset(self, 0, sizeof(Clients))
    self.number = number
    self.fd = fd
    memcpy(self.keys, keys, sizeof(self.keys))


cdef void clients_stop(Clients* self) noexcept nogil:
    map_free(&self.by_client)
    map_free(&self.by_source)


# A socket address of IPv4 is 2 bytes of family, 2 of port and 4 of address; one of IPv6 has 4 bytes of flow between
# port and address, and 4 of scope behind it.
cdef void clients_name(const uint8_t* address, uint8_t* client) noexcept nogil:
    memset(client, 0, ASSOCIATION_CLIENT)
    if (<const uint16_t*>address)[0] == CLIENTS_IPV4:
        memcpy(client, address, 8)
    else:
        memcpy(client, address, 4)
        memcpy(client + 8, address + 8, 20)


# Multilinear hashing (Lemire and Kaser, Strongly universal string hashing is fast): who does not know the keys makes
# two names collide with a probability of 2^-32, whatever names are chosen.
cdef uint32_t hash_words(const uint64_t* keys, const uint8_t* p, uint32_t words) noexcept nogil:
    cdef uint64_t sum = keys[0]
    cdef uint32_t word = 0
    cdef uint32_t i
    for i in range(words):
        memcpy(&word, p + 4 * i, 4)
        sum += keys[i + 1] * word
    return <uint32_t>(sum >> 32)


cdef uint32_t clients_hash(const Clients* self, const uint8_t* client, const uint8_t* local) noexcept nogil:
    cdef uint8_t name[ASSOCIATION_CLIENT + ASSOCIATION_LOCAL]
    memcpy(name, client, ASSOCIATION_CLIENT)
    memcpy(name + ASSOCIATION_CLIENT, local, ASSOCIATION_LOCAL)
    return hash_words(self.keys, name, CLIENTS_WORDS)


cdef Association* clients_find(const Clients* self, const uint8_t* client, const uint8_t* local,
                               uint32_t hash) noexcept nogil:
    cdef Association* found = <Association*>map_find(&self.by_client, hash)
    while found != NULL and (memcmp(found.client, client, ASSOCIATION_CLIENT) != 0
                             or memcmp(found.local, local, ASSOCIATION_LOCAL) != 0):
        found = found.same
    return found


# -- sources ----------------------------------------------------------------------------------------------------------

cdef inline void source_name(const uint8_t* client, uint8_t* address) noexcept nogil:
    memset(address, 0, CLIENTS_SOURCE)
    memcpy(address, client, 2)
    if (<const uint16_t*>client)[0] == CLIENTS_IPV4:
        memcpy(address + 4, client + 4, 4)
    else:
        memcpy(address + 4, client + 8, 16)


cdef ClientSource* clients_source(const Clients* self, const uint8_t* client) noexcept nogil:
    cdef uint8_t address[CLIENTS_SOURCE]
    cdef ClientSource* found
    source_name(client, address)
    found = <ClientSource*>map_find(&self.by_source, hash_words(self.keys, address, CLIENTS_SOURCE / 4))
    while found != NULL and memcmp(found.address, address, CLIENTS_SOURCE) != 0:
        found = found.same
    return found


cdef ClientSource* make_source(Clients* self, Pool* pool, const uint8_t* client) noexcept nogil:
    cdef ClientSource* source = <ClientSource*>pool_alloc(pool, sizeof(ClientSource))
    if source == NULL:
        return NULL
    source_name(client, source.address)
    source.hash = hash_words(self.keys, source.address, CLIENTS_SOURCE / 4)
    source.same = <ClientSource*>map_find(&self.by_source, source.hash)
    if not map_put(&self.by_source, source.hash, source):
        pool_free(pool, source, sizeof(ClientSource))
        return NULL
    return source


cdef void drop_source(Clients* self, Pool* pool, ClientSource* source) noexcept nogil:
    cdef ClientSource* at = <ClientSource*>map_find(&self.by_source, source.hash)
    if at == source:
        map_remove(&self.by_source, source.hash)
        if source.same != NULL:
            # The place was freed just now.
            map_put(&self.by_source, source.hash, source.same)
    else:
        while at.same != source:
            at = at.same
        at.same = source.same
    pool_free(pool, source, sizeof(ClientSource))


# -- order of use -----------------------------------------------------------------------------------------------------

cdef void push_newest(Clients* self, Association* association) noexcept nogil:
    cdef ClientSource* source = <ClientSource*>association.source
    association.newer = NULL
    association.older = self.newest
    if self.newest == NULL:
        self.oldest = association
    else:
        self.newest.newer = association
    self.newest = association
    association.newer_of_source = NULL
    association.older_of_source = source.newest
    if source.newest == NULL:
        source.oldest = association
    else:
        source.newest.newer_of_source = association
    source.newest = association


cdef void take_out(Clients* self, Association* association) noexcept nogil:
    cdef ClientSource* source = <ClientSource*>association.source
    if association.newer == NULL:
        self.newest = association.older
    else:
        association.newer.older = association.older
    if association.older == NULL:
        self.oldest = association.newer
    else:
        association.older.newer = association.newer
    if association.newer_of_source == NULL:
        source.newest = association.older_of_source
    else:
        association.newer_of_source.older_of_source = association.older_of_source
    if association.older_of_source == NULL:
        source.oldest = association.newer_of_source
    else:
        association.older_of_source.newer_of_source = association.newer_of_source


cdef void clients_use(Association* association) noexcept nogil:
    cdef Clients* self = <Clients*>association.clients
    if self == NULL or (association.newer == NULL and association.newer_of_source == NULL):
        return
    take_out(self, association)
    push_newest(self, association)


cdef bint clients_add(Clients* self, Pool* pool, Association* association) noexcept nogil:
    cdef ClientSource* source = clients_source(self, association.client)
    if source == NULL:
        source = make_source(self, pool, association.client)
        if source == NULL:
            return False
    association.same = <Association*>map_find(&self.by_client, association.hash)
    if not map_put(&self.by_client, association.hash, association):
        if source.count == 0:
            drop_source(self, pool, source)
        return False
    association.clients = self
    association.source = source
    push_newest(self, association)
    self.count += 1
    source.count += 1
    return True


cdef void clients_remove(Pool* pool, Association* association) noexcept nogil:
    cdef Clients* self = <Clients*>association.clients
    cdef ClientSource* source = <ClientSource*>association.source
    cdef Association* at
    if self == NULL:
        return
    at = <Association*>map_find(&self.by_client, association.hash)
    if at == association:
        map_remove(&self.by_client, association.hash)
        if association.same != NULL:
            # The place was freed just now.
            map_put(&self.by_client, association.hash, association.same)
    else:
        while at.same != association:
            at = at.same
        at.same = association.same
    take_out(self, association)
    self.count -= 1
    source.count -= 1
    if source.count == 0:
        drop_source(self, pool, source)
    association.clients = NULL
    association.source = NULL
    association.same = NULL


# -- prefixes ---------------------------------------------------------------------------------------------------------

cdef bint is_mapped(const uint8_t* address) noexcept nogil:
    cdef uint32_t i
    for i in range(MAPPED):
        if address[i] != (0xff if i >= 10 else 0):
            return False
    return True


cdef bint is_within(const Prefix* prefix, const uint8_t* address) noexcept nogil:
    cdef uint32_t whole = prefix.bits / 8
    cdef uint32_t rest = prefix.bits % 8
    if memcmp(prefix.address, address, whole) != 0:
        return False
    return rest == 0 or (prefix.address[whole] ^ address[whole]) >> (8 - rest) == 0


cdef bint clients_serves(const DatagramImport* terms, const uint8_t* client) noexcept nogil:
    cdef uint16_t family = (<const uint16_t*>client)[0]
    cdef const uint8_t* address = client + 4 if family == CLIENTS_IPV4 else client + 8
    cdef uint32_t i
    if terms.prefix_count == 0:
        return True
    if family == CLIENTS_IPV6 and is_mapped(address):
        # A client of IPv4, by a socket of both.
        family = CLIENTS_IPV4
        address += MAPPED
    for i in range(terms.prefix_count):
        if terms.prefixes[i].family == family and is_within(&terms.prefixes[i], address):
            return True
    return False
