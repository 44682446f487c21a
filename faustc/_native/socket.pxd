from libc.stdint cimport uint8_t

cdef Py_ssize_t recv_into(
    int fd, uint8_t *first, Py_ssize_t first_size, uint8_t *second, Py_ssize_t second_size
) except -1
