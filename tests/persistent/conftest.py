from one_thread import one_thread_of_blas  # noqa: F401 (a fixture)
