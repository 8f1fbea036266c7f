# A list of streams that are ready to be served: first in, first out. A stream is in one list at most.
from pcgrelay._core.stream.stream cimport Stream


cdef struct StreamList:
    Stream* head
    Stream* tail


cdef void list_push(StreamList* self, Stream* stream) noexcept nogil
# The first; NULL: none.
cdef Stream* list_pop(StreamList* self) noexcept nogil
# Take one out that may be anywhere in it, or not at all: the list is walked.
cdef void list_remove(StreamList* self, Stream* stream) noexcept nogil
