"""What is known of the sky: filters, catalogues, positions of named objects."""
