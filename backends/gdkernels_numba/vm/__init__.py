"""The reader of instruction streams: a small interpreter that calls kernels at their addresses.

`tile_instructions` and `block_instructions` declare every instruction with its fields, `thread_context` and
`shared_words` the memory around the streams: for the writer and the reader alike.
"""
