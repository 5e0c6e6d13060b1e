"""A service for tests whose stage does what its configuration says; added the public way."""
