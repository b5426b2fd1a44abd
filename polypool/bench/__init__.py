"""The benchmark behind `polypool bench`: every rival beside us, in one process, against one read of the input.

`suites` says what is measured; `subjects`, `workloads` and `rivals` are what it is made of. `contest` measures, `truth`
decides who is right, `targets` what is good enough. A `worker` process measures under the allocator that a table asks
for, and `record` holds what it found.
"""
