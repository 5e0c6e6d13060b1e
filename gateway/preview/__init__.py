"""Pictures of FITS files for people: quickly, in processes of their own, with bounded memory.

`options` says what may be asked for, `renderers` has it done by processes that run `__main__`,
`levels` keeps smaller versions of an image on disk, so that a look at it does not read it whole.
"""
