"""The measurements of `make bench`. No test asserts a speed."""
