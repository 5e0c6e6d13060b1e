"""A relay of four stages that do nothing, added the public way."""
