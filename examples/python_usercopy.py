"""Messages with a header that C code keeps and a body that Python may write: the buffer shows the body alone."""

import ctypes

from haybarn import BadArgumentError, KmemCache, sysfs


class Header(ctypes.Structure):
    """What comes before the body."""

    _fields_ = (("serial", ctypes.c_uint64), ("checksum", ctypes.c_uint64))


BODY = 240
messages = KmemCache("messages", ctypes.sizeof(Header) + BODY, useroffset=ctypes.sizeof(Header), usersize=BODY)
print(f"{messages.object_size} bytes, of which {messages.usersize} from {messages.useroffset} on are the user's")

message = messages.alloc(zero=True)  # all of it is zero
header = Header.from_address(message.address)  # C's way in
header.serial = 7
header.checksum = 0xC0FFEE

with memoryview(message) as body:
    body[:] = b"!" * len(message)  # as much as there is
    try:
        body[BODY] = 0
    except IndexError as refused:
        print(f"byte {BODY}: {refused}")
print(f"the header is as it was: serial {header.serial}, checksum {header.checksum:#x}")

try:
    KmemCache("too-far", 64, useroffset=32, usersize=64)
except BadArgumentError as refused:
    print(refused)
print(f"sysfs says {sysfs.read('/messages/usersize').strip()}")

message.free()
messages.destroy()
