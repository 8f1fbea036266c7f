# Nothing of this face is used by another.
