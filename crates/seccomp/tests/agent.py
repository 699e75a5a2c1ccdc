"""A seccomp agent: gets a listener over the socket that is its standard input, answers what is heard there.

    agent.py NUMBER ERRNO

The first notification must be of system call NUMBER from a thread of this one's parent, and gets ERRNO; the
second is let through. Then it says `answered` and ends, whereupon the listener is closed.
"""
import fcntl
import os
import socket
import struct
import sys

# include/uapi/linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_USER_NOTIF_FLAG_CONTINUE
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
number, errno = int(sys.argv[1]), int(sys.argv[2])

peer = socket.socket(fileno=os.dup(0))
listener = socket.recv_fds(peer, 1, 1)[1][0]
for error, flags in [(-errno, 0), (0, CONTINUE)]:
    heard = bytearray(80)
    fcntl.ioctl(listener, RECEIVE, heard)
    cookie, thread, _, called = struct.unpack_from("=QIIi", heard)
    assert called == number and os.path.exists(f"/proc/{os.getppid()}/task/{thread}"), (thread, called)
    fcntl.ioctl(listener, SEND, struct.pack("=Qqii", cookie, 0, error, flags))
print("answered")
