"""Processing on this machine alone: the stages' own functions, no broker and no database."""
