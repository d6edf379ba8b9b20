"""A wide-area network between two network namespaces: delay, jitter and loss in one small process.

Run by `wan.py` inside a user namespace of its own, so that it needs neither root nor a kernel with
sch_netem: a tun device in each of two namespaces, and packets carried between them late, or never.
Lines on standard input change it: `delay 0.02`, `jitter 0.005`, `loss 0.02` (1: cut). The end of
standard input ends it.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFDSTADDR = 0x8916, 0x8918
_IFF_UP = 1
_PACKET_BYTES = 1 << 16
_AT_ONCE = 64


def _bring_up(name: bytes, *addresses: str) -> None:
    """Set a device's own address and the other end's, and let it work."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for call, address in zip((_SIOCSIFADDR, _SIOCSIFDSTADDR), addresses, strict=False):
            inet = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(sock, call, struct.pack("16s16s8x", name, inet))
        told = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
        flags = struct.unpack("16sH22x", told)[1] | _IFF_UP
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags))


def _hold(address: str, other: str, told: socket.socket) -> None:
    """Be the process whose network namespace this is; hand its tun device over."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"wan0", _IFF_TUN_NO_PI))
    _bring_up(b"wan0", address, other)
    _bring_up(b"lo")
    socket.send_fds(told, [b"up"], [tun])
    told.recv(1)  # until the relay ends


def _namespace(address: str, other: str) -> tuple[int, int, socket.socket]:
    """Return the process in a new namespace, its tun device, and what keeps it alive."""
    mine, its = socket.socketpair()
    pid = os.fork()
    if not pid:
        mine.close()
        try:
            _hold(address, other, its)
        except OSError as error:
            its.send(str(error).encode())
            os._exit(1)
        os._exit(0)
    its.close()
    said, fds, _, _ = socket.recv_fds(mine, 1000, 1)
    if not fds:
        sys.exit(f"{said.decode()}")
    return pid, fds[0], mine


class Relay:
    """What carries packets from each end to the other."""

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends
        self._rule = {"delay": 0.0, "jitter": 0.0, "loss": 0.0}
        self._chance = random.Random(1)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def run(self) -> None:
        """Carry, until standard input ends."""
        while True:
            now_s = time.monotonic()
            rest_s = max(0.0, self._under_way[0][0] - now_s) if self._under_way else None
            ready, _, _ = select.select([*self._ends, 0], [], [], rest_s)
            if 0 in ready and not self._take_orders():
                return
            for end in self._ends:
                if end in ready:
                    self._take(end)
            self._deliver()

    def _take_orders(self) -> bool:
        lines = os.read(0, 1000).decode().splitlines()
        for line in lines:
            name, value = line.split()
            self._rule[name] = float(value)
        return bool(lines)

    def _take(self, end: int) -> None:
        other = self._ends[1 - self._ends.index(end)]
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(end, _PACKET_BYTES)
            except BlockingIOError:
                return
            if self._chance.random() < self._rule["loss"]:
                continue
            late_s = self._rule["delay"] + self._rule["jitter"] * self._chance.random()
            self._count += 1
            due_s = time.monotonic() + late_s
            heapq.heappush(self._under_way, (due_s, self._count, other, packet))

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, _, other, packet = heapq.heappop(self._under_way)
            try:
                os.write(other, packet)
            except OSError:
                continue  # no room: lost, as on any network


def main() -> None:
    """Make both ends, say who is in them, carry."""
    here, there = ADDRESSES
    made = [_namespace(here, there), _namespace(there, here)]
    sys.stdout.write(json.dumps([pid for pid, _, _ in made]) + "\n")
    sys.stdout.flush()
    Relay([tun for _, tun, _ in made]).run()


if __name__ == "__main__":
    main()
