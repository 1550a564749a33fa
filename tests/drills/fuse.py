"""The lossy disk as a file system, by the protocol of /dev/fuse: `python -m tests.drills.fuse FOLDER` serves it until its input ends.

Owns the protocol and the commands: `freeze N` (after so many more writes and syncs there are none, which is answered then), `cut SEED FATE`
(the power goes and comes back; the folder is mounted anew) and `settle`. What lasts is decided in `disk`. The kernel passes on every write at once and every sync; only
shared memory mappings reach the disk when the kernel likes, as on any other.
"""

import errno
import os
import select
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from tests.drills.disk import FATES, Disk, File, Folder, Node, new_disk

HEADER, ANSWER = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
INIT, ATTRIBUTES = struct.Struct("=IIIIHHIIHHI28x"), struct.Struct("=6Q10I")
MAX_WRITE, VALID, KEEP_CACHE = 1 << 20, 3600, 2
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
MODE, OWNER, GROUP, SIZE = 1, 2, 4, 8  # of what a SETATTR sets
Request = tuple[int, int, int, bytes]  # node, user, group and what the operation says


class Refused(Exception):
    """An error that the caller gets."""


class Server:
    """The file system over one disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.left: int | None = None  # changes until there are no more
        self._listings: dict[int, list[tuple[bytes, int]]] = {}
        self._handles = iter(range(1, 2**62))
        self._operations: dict[int, Callable[[Request], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 9: self._mkdir, 10: self._unlink, 11: self._unlink,
            12: self._rename, 13: self._link, 14: self._open, 15: self._read, 16: self._write, 17: self._statfs,
            18: self._nothing, 20: self._fsync, 26: self._init, 27: self._opendir, 28: self._readdir, 29: self._releasedir,
            30: self._fsync, 35: self._create,
        }  # fmt: skip
        self._changes = {4, 9, 10, 11, 12, 13, 16, 20, 30, 35}

    def answer(self, request: bytes) -> bytes | None:
        """Return the answer to one request; None where there is none."""
        _, operation, unique, node, user, group, *_ = HEADER.unpack_from(request)
        if operation in (2, 36, 38, 42):  # FORGET, INTERRUPT, DESTROY, BATCH_FORGET
            return None
        try:
            if operation not in self._operations:
                raise Refused(errno.ENOSYS)
            if operation in self._changes:
                self._count()
            body, error = self._operations[operation]((node, user, group, request[HEADER.size :])), 0
        except Refused as refused:
            body, error = b"", refused.args[0]
        return ANSWER.pack(ANSWER.size + len(body), -error, unique) + body

    def _count(self) -> None:
        if self.left == 0:
            raise Refused(errno.EIO)
        if self.left is not None:
            self.left -= 1

    # what is there

    def _node(self, number: int) -> Node:
        if number not in self.disk.nodes:
            raise Refused(errno.ENOENT)
        return self.disk.nodes[number]

    def _file(self, number: int) -> File:
        body = self._node(number).body
        if not isinstance(body, File):
            raise Refused(errno.EISDIR)
        return body

    def _folder(self, number: int) -> Folder:
        body = self._node(number).body
        if not isinstance(body, Folder):
            raise Refused(errno.ENOTDIR)
        return body

    def _inside(self, folder: int, name: bytes) -> int:
        found = self._folder(folder).seen.get(name)
        if found is None:
            raise Refused(errno.ENOENT)
        return found

    def _attributes(self, number: int) -> bytes:
        node = self._node(number)
        size = len(node.body.seen) if isinstance(node.body, File) else 0
        at = int(node.changed)
        return ATTRIBUTES.pack(
            number, size, -(-size // 512), at, at, at, 0, 0, 0, node.mode, node.links, node.owner, node.group, 0, 4096, 0
        )  # fmt: skip

    def _entry(self, number: int) -> bytes:
        return struct.pack("=4Q2I", number, 0, VALID, VALID, 0, 0) + self._attributes(number)

    def _opened(self) -> bytes:
        return struct.pack("=QII", next(self._handles), KEEP_CACHE, 0)

    # what the kernel asks

    def _init(self, request: Request) -> bytes:
        _, _, readahead, flags = struct.unpack_from("=4I", request[3])
        return INIT.pack(7, 31, readahead, flags & (BIG_WRITES | MAX_PAGES), 12, 9, MAX_WRITE, 1, 256, 0, 0)

    def _nothing(self, request: Request) -> bytes:
        return b""

    def _lookup(self, request: Request) -> bytes:
        return self._entry(self._inside(request[0], request[3].rstrip(b"\0")))

    def _getattr(self, request: Request) -> bytes:
        return struct.pack("=QII", VALID, 0, 0) + self._attributes(request[0])

    def _setattr(self, request: Request) -> bytes:
        valid, _, _, size, *_, mode, _, owner, group, _ = struct.unpack_from("=II6Q8I", request[3])
        node = self._node(request[0])
        if valid & SIZE:
            self._file(request[0]).write(size, None)
        if valid & MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        node.owner = owner if valid & OWNER else node.owner
        node.group = group if valid & GROUP else node.group
        return self._getattr(request)

    def _make(self, request: Request, mode: int, name: bytes, body: File | Folder) -> bytes:
        folder = self._folder(request[0])
        if name in folder.seen:
            raise Refused(errno.EEXIST)
        number = next(self.disk.numbers)
        self.disk.nodes[number] = Node(mode, request[1], request[2], body, changed=time.time())
        folder.change({name: number})
        return self._entry(number)

    def _mkdir(self, request: Request) -> bytes:
        mode = struct.unpack_from("=I", request[3])[0]
        return self._make(request, stat.S_IFDIR | stat.S_IMODE(mode), request[3][8:].rstrip(b"\0"), Folder())

    def _create(self, request: Request) -> bytes:
        mode = struct.unpack_from("=II", request[3])[1]
        made = self._make(request, stat.S_IFREG | stat.S_IMODE(mode), request[3][16:].rstrip(b"\0"), File())
        return made + self._opened()

    def _unlink(self, request: Request) -> bytes:
        name = request[3].rstrip(b"\0")
        node = self._node(self._inside(request[0], name))
        if isinstance(node.body, Folder) and node.body.seen:
            raise Refused(errno.ENOTEMPTY)
        self._folder(request[0]).change({name: None})
        node.links -= 1
        return b""

    def _rename(self, request: Request) -> bytes:
        target = struct.unpack_from("=Q", request[3])[0]
        old, new, _ = request[3][8:].split(b"\0")
        if target != request[0]:
            raise Refused(errno.EXDEV)  # one journal for one folder
        moved = self._inside(target, old)
        replaced = self._folder(target).seen.get(new)
        self._folder(target).change({old: None, new: moved})
        if replaced is not None:
            self._node(replaced).links -= 1
        return b""

    def _link(self, request: Request) -> bytes:
        number = struct.unpack_from("=Q", request[3])[0]
        name = request[3][8:].rstrip(b"\0")
        folder = self._folder(request[0])
        if name in folder.seen:
            raise Refused(errno.EEXIST)
        folder.change({name: number})
        self._node(number).links += 1
        return self._entry(number)

    def _open(self, request: Request) -> bytes:
        self._file(request[0])
        return self._opened()

    def _read(self, request: Request) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", request[3])
        return bytes(self._file(request[0]).seen[offset : offset + size])

    def _write(self, request: Request) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", request[3])
        self._file(request[0]).write(offset, request[3][40 : 40 + size])
        self._node(request[0]).changed = time.time()
        return struct.pack("=II", size, 0)

    def _fsync(self, request: Request) -> bytes:
        self._node(request[0]).body.sync()
        return b""

    def _statfs(self, request: Request) -> bytes:
        return struct.pack("=5Q4I24x", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096, 0)

    def _opendir(self, request: Request) -> bytes:
        opened = self._opened()
        handle = struct.unpack_from("=Q", opened)[0]
        self._listings[handle] = list(self._folder(request[0]).seen.items())
        return opened

    def _readdir(self, request: Request) -> bytes:
        handle, offset, size = struct.unpack_from("=QQI", request[3])
        listed = b""
        for number, (name, node) in enumerate(self._listings[handle][offset:], start=offset + 1):
            kind = stat.S_IFMT(self._node(node).mode) >> 12 if node in self.disk.nodes else 0
            entry = struct.pack("=QQII", node, number, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed

    def _releasedir(self, request: Request) -> bytes:
        self._listings.pop(struct.unpack_from("=Q", request[3])[0], None)
        return b""


def mount(folder: str) -> int:
    """Mount a file system at a folder and return the descriptor that its requests come from."""
    ours, theirs = socket.socketpair()
    options = "nosuid,nodev,default_permissions,fsname=lossy" + (",allow_other" if os.geteuid() == 0 else "")
    with ours, theirs:
        subprocess.run(
            ["fusermount3", "-o", options, "--", folder],
            env=os.environ | {"_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            check=True,
        )
        _, (descriptor, *_), *_ = socket.recv_fds(ours, 1, 1)
    return descriptor


def unmount(folder: str, descriptor: int) -> None:
    """Take the file system away, whoever uses it."""
    subprocess.run(["fusermount3", "-u", "-z", "--", folder], check=False)
    os.close(descriptor)


def serve(folder: str) -> None:
    """Serve an empty disk at a folder, and obey what comes in a line at a time; each is answered when it is done."""
    server = Server(new_disk(os.geteuid(), os.getegid()))
    descriptor = mount(folder)
    say("ready")
    try:
        while True:
            readable, _, _ = select.select([descriptor, sys.stdin.fileno()], [], [])
            if sys.stdin.fileno() not in readable:
                if _pass_on(server, descriptor) and server.left == 0:
                    say("frozen")
                continue
            command, *arguments = os.read(sys.stdin.fileno(), 100).decode().split() or ["end"]
            if command == "end":
                return
            if command == "freeze":
                server.left = int(arguments[0])
            elif command == "settle":
                server.disk.settle()
                say("settled")
            elif command == "cut":
                unmount(folder, descriptor)
                unsynced = server.disk.cut(
                    int(arguments[0]), FATES[int(arguments[1])] if arguments[1:] else None
                )
                server = Server(server.disk)
                descriptor = mount(folder)
                say(str(unsynced))
    finally:
        unmount(folder, descriptor)


def say(answer: str) -> None:
    """Answer a command."""
    print(answer, flush=True)


def _pass_on(server: Server, descriptor: int) -> bool:
    """Answer one request of the kernel; return whether it was the last change before the disk is frozen."""
    before = server.left
    try:
        answer = server.answer(os.read(descriptor, MAX_WRITE + 8192))
        if answer is not None:
            os.write(descriptor, answer)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):  # who asked is gone
            raise
    return before != server.left


if __name__ == "__main__":
    serve(sys.argv[1])
