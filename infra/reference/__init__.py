"""The pages of docs/reference, which are written from the code: `make reference`."""
