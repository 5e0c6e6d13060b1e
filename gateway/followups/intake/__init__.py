"""How do files of the data folder become tasks, by themselves: in watched folders and in batches?

A file of a watched folder is first *seen*. It is taken when it has not changed for a while and its
structure says that all of it is there, so that one which is still being written, however slowly,
waits. What became of it is a row that is written with its task in one transaction: a file is a
task once, whoever dies in between, and however often anybody looks. The same content under
another name is no new task.
"""
