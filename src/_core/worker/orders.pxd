# The orders of the control plane to a worker.
from pcgrelay._core.link.mailbox cimport Order, Settings
from pcgrelay._core.worker.worker cimport Worker


# Carry out all orders in the mailbox.
cdef void orders_take(Worker* self) noexcept nogil

# Apply settings: before the thread begins, or as an order. The times of half-closed streams and of silent lanes restart
# only if their setting has changed.
cdef void orders_apply_settings(Worker* self, const Settings* settings) noexcept nogil

# Discard these orders: close and free what they carry.
cdef void orders_drop(Worker* self, Order* order) noexcept nogil
