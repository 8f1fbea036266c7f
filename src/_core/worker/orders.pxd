# What the control plane orders a worker to do.
from pcgrelay._core.link.mailbox cimport Order, Settings
from pcgrelay._core.worker.worker cimport Worker


# Carry out all that wait in the mailbox.
cdef void orders_take(Worker* self) noexcept nogil

# Take the settings over: before the thread begins, or as an order. Half-closed streams and the silence of lanes are
# counted again only if what they go by is another now.
cdef void orders_apply_settings(Worker* self, const Settings* settings) noexcept nogil

# Carry none of them out: close and free what they bring.
cdef void orders_drop(Order* order) noexcept nogil
