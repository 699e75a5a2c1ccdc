# Answers the questions of a system call filter: listens at argv[1], prints what it is told on each of argv[2]
# connections as a line of JSON, and answers every question with the error number ENOMEDIUM.
import array, fcntl, os, socket, struct, sys, threading

RECV, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
ENOMEDIUM = 123

def answer(listener):
    while True:
        question = bytearray(80)
        try:
            fcntl.ioctl(listener, RECV, question)
            number = struct.unpack_from("Q", question)[0]
            fcntl.ioctl(listener, SEND, struct.pack("QqiI", number, 0, -ENOMEDIUM, 0))
        except OSError:
            return

server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
for _ in range(int(sys.argv[2])):
    connection, _ = server.accept()
    text, fds = b"", []
    while True:
        part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
        for _, _, data in ancillary:
            fds.extend(array.array("i", data[: len(data) - len(data) % 4]))
        if not part:
            break
        text += part
    print(text.decode().replace("\n", " "), flush=True)
    assert len(fds) == 1, fds
    threading.Thread(target=answer, args=(fds[0],), daemon=True).start()
threading.Event().wait()
