"""What happens to an image: reading, masking, measuring, plotting."""
