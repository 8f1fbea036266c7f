from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from pcgrelay._core.base.atomics cimport atomic_add
from pcgrelay._core.base.map cimport map_find, map_free, map_put
from pcgrelay._core.stream.meter cimport meter_drop


cdef Tables* tables_new(uint32_t exports, uint32_t imports, uint32_t grants) noexcept nogil:
    cdef Tables* self = <Tables*>calloc(1, sizeof(Tables))
    if self == NULL:
        return NULL
    self.references = 1
    self.export_count = exports
    self.import_count = imports
    self.grant_count = grants
    self.exports = <Export*>calloc(exports + 1, sizeof(Export))
    self.imports = <Import*>calloc(imports + 1, sizeof(Import))
    self.grants = <uint64_t*>calloc(grants + 1, sizeof(uint64_t))
    if self.exports == NULL or self.imports == NULL or self.grants == NULL:
        tables_drop(self)
        return NULL
    return self


# FNV-1a, 32 bits. Names come from the own configuration, so an attacker cannot choose names that collide.
cdef inline uint32_t name_hash(const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint32_t value = 2166136261
    cdef uint32_t i
    for i in range(length):
        value = (value ^ name[i]) * 16777619
    return value


cdef bint tables_index(Tables* self) noexcept nogil:
    cdef uint32_t i, hash
    cdef Export* export
    for i in range(self.export_count):
        export = &self.exports[i]
        hash = name_hash(export.service, export.service_length)
        export.next = <Export*>map_find(&self.exports_by_name, hash)
        if not map_put(&self.exports_by_name, hash, export):
            return False
    for i in range(self.import_count):
        if not map_put(&self.imports_by_number, self.imports[i].number + 1, &self.imports[i]):
            return False
    return True


cdef void tables_hold(Tables* self) noexcept nogil:
    atomic_add(&self.references, 1)


cdef void tables_drop(Tables* self) noexcept nogil:
    cdef uint32_t i
    if self == NULL or atomic_add(&self.references, -1) != 0:
        return
    map_free(&self.exports_by_name)
    map_free(&self.imports_by_number)
    if self.imports != NULL:
        for i in range(self.import_count):
            if self.imports[i].outlets != NULL:
                meter_drop(self.imports[i].outlets.meter)
                free(self.imports[i].outlets)
            free(self.imports[i].datagrams)
    free(self.exports)
    free(self.imports)
    free(self.grants)
    free(self)


cdef const Export* tables_export(const Tables* self, const uint8_t* service, uint32_t length) noexcept nogil:
    cdef const Export* export
    if self == NULL:
        return NULL
    export = <const Export*>map_find(&self.exports_by_name, name_hash(service, length))
    while export != NULL and (export.service_length != length or memcmp(export.service, service, length) != 0):
        export = export.next
    return export


cdef const Import* tables_import(const Tables* self, uint32_t number) noexcept nogil:
    if self == NULL:
        return NULL
    return <const Import*>map_find(&self.imports_by_number, number + 1)


cdef const DatagramTerms* tables_terms(const Tables* self, bint of_import, int number, const uint8_t* service,
                                       uint32_t length) noexcept nogil:
    cdef const Import* entry
    cdef const Export* export
    if of_import:
        entry = tables_import(self, <uint32_t>number)
        return NULL if entry == NULL or entry.datagrams == NULL else &entry.datagrams.terms
    export = tables_export(self, service, length)
    return NULL if export == NULL or export.datagrams.idle_us == 0 else &export.datagrams


cdef bint tables_grants(const Tables* self, uint32_t session, uint32_t export_number) noexcept nogil:
    cdef uint64_t key = (<uint64_t>session << 16) | export_number
    cdef uint32_t low = 0
    cdef uint32_t high
    cdef uint32_t middle
    if self == NULL:
        return False
    high = self.grant_count
    while low < high:
        middle = low + (high - low) / 2
        if self.grants[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < self.grant_count and self.grants[low] == key
