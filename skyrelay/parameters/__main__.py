"""Print the reference of all parameters as Markdown."""

from skyrelay.parameters.document import as_markdown

print(as_markdown(), end="")
