"""What people say of images."""
