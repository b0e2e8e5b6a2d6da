"""uncompressed_kernel.py VMLINUZ ELF: unpacks the xz stream in a bzImage, which is the kernel as ELF."""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

XZ_MAGIC = b"\xfd7zXZ\0"
packed = Path(sys.argv[1]).read_bytes()
kernel = lzma.LZMADecompressor().decompress(packed[packed.index(XZ_MAGIC) :])
if not kernel.startswith(b"\x7fELF"):
    sys.exit(f"{sys.argv[1]} holds no ELF kernel packed with xz")
Path(sys.argv[2]).write_bytes(kernel)
