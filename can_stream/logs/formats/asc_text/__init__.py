"""Parts of the reader of Vector ASC logs."""
